"""What becomes of a session after its tab is closed: a minute's grace, then nothing is left of it.

Streamlit alone keeps the scans of a closed tab until somebody else closes one: it looks for sessions
that have outlived ``server.disconnectedSessionTTL`` only when it stores another. That option must be
longer than the grace here: a session it has given up cannot be closed any more.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from streamlit import runtime

GRACE_S = 60.0  # a sleeping laptop or a lost connection may come back within it
SWEEP_INTERVAL_S = 5.0


@asynccontextmanager
async def expire_closed_sessions(_app: Any) -> AsyncIterator[None]:
    """Close what has been away too long, for as long as the server runs.

    Give it to ``st.App`` as its ``lifespan``: it must run on the server's own event loop, because
    Streamlit's sessions are not safe to touch from elsewhere.
    """
    sweeping = asyncio.create_task(_sweep_forever())
    yield
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping


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
        self._cleanings_due = 0

    def __call__(self, now: float) -> None:
        """Close the sessions that have been away for longer than the grace period.

        Parameters
        ----------
        now : float
            Seconds, monotonic.
        """
        server = runtime.get_instance()
        away = {s.session.id for s in server._session_mgr.list_sessions() if s.client is None}
        self._gone_since = {session: self._gone_since.get(session, now) for session in away}
        for session, since in self._gone_since.items():
            if now - since >= self.grace_s:
                server.close_session(session)
                self._cleanings_due = 2
        if self._cleanings_due:  # the first marks a download for deletion, the second deletes it
            self._cleanings_due -= 1
            server.media_file_mgr.remove_orphaned_files()


async def _sweep_forever() -> None:
    sweep = Sweep(GRACE_S)
    while True:
        await asyncio.sleep(min(SWEEP_INTERVAL_S, sweep.grace_s))
        sweep(time.monotonic())
