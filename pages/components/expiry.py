"""What becomes of a session after its tab is closed: a minute's grace, then nothing is left of it.

Streamlit alone keeps the scans of a closed tab until somebody else closes one: it looks for
sessions that have outlived ``server.disconnectedSessionTTL`` only when it stores another. That
option must be longer than the grace here: a session it has given up cannot be closed any more.
"""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from streamlit import runtime
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.state import SessionState

from pages.components.viewer.store import GRACE_S
from utils.memory import give_arrays_back

LOG = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 5.0


@asynccontextmanager
async def expire_closed_sessions(_app: Any) -> AsyncIterator[None]:
    """Close what has been away too long, for as long as the server runs.

    Give it to ``st.App`` as its ``lifespan``: it must run on the server's own event loop, because
    Streamlit's sessions are not safe to touch from elsewhere.
    """
    give_arrays_back()
    sweeping = asyncio.create_task(_sweep_forever())
    yield
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping


def forget_files() -> None:
    """Drop the files that the session which runs this script has uploaded."""
    context = get_script_run_ctx()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_session_files(context.session_id)


class Sweep:
    """Remembers since when each session has been without a browser.

    Parameters
    ----------
    grace_s : float
        How long a session may be away.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self._gone_since: dict[str, float] = {}

    def __call__(self, now: float) -> None:
        """Close the sessions that have been away for longer than the grace period; drop old media.

        Parameters
        ----------
        now : float
            Seconds, monotonic.
        """
        server = runtime.get_instance()
        away = {
            s.session.id: s.session for s in server._session_mgr.list_sessions() if not s.client
        }
        self._gone_since = {name: self._gone_since.get(name, now) for name in away}
        expired = [name for name, since in self._gone_since.items() if now - since >= self.grace_s]
        for name in expired:
            server.close_session(name)
            _empty(away.pop(name))  # Streamlit's loop holds the last session it has seen
        if expired:
            gc.collect()  # Streamlit does so after a script's run: this session will have none
        # Streamlit drops a download only when it finds it unused a second time
        server.media_file_mgr.remove_orphaned_files()


def _empty(session: AppSession) -> None:
    session._session_state = SessionState()  # its `clear` leaves what the widgets refer to
    session._fragment_storage.clear()


async def _sweep_forever() -> None:
    sweep = Sweep(GRACE_S)
    while True:
        await asyncio.sleep(min(SWEEP_INTERVAL_S, sweep.grace_s))
        try:
            sweep(time.monotonic())
        except Exception:  # what fails once must not stop all later sweeps
            LOG.exception("closed sessions could not be cleared")
