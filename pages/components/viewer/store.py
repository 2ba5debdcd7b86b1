"""Where encoded volumes wait for the browser, and where they end.

A volume lives at an unguessable address, for as long as the session that published it is connected
and the study it came from exists; Streamlit itself keeps a closed session's memory much longer.
"""

import logging
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from streamlit import runtime

from pages.components.viewer.encode import Payload

LOG = logging.getLogger(__name__)
GRACE_S = 60.0  # a sleeping laptop or a lost connection may come back within it
SWEEP_INTERVAL_S = 5.0
TOKEN_BYTES = 32

Encoder = Callable[[], Payload]


class ForgottenError(LookupError):
    """What was to be encoded has been erased in the meantime."""


def is_connected(session: str) -> bool:
    """Whether a browser tab is connected to this Streamlit session now."""
    return runtime.exists() and runtime.get_instance().is_active_session(session)


@dataclass(eq=False)  # weak references compare what they refer to: of arrays, voxel by voxel
class _Publication:
    """What one session has published of one study or segmentation."""

    session: str
    owner: weakref.ref[object]
    tokens: Mapping[str, str]
    waiting: dict[str, Encoder]
    payloads: dict[str, Future[Payload]] = field(default_factory=dict)


class ScanStore:
    """Encoded volumes by token.

    Parameters
    ----------
    connected : callable
        Whether a session still has a browser; a session without one is forgotten after `grace_s`.
    grace_s : float
        How long a session may be away.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self,
        connected: Callable[[str], bool] = is_connected,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.grace_s = grace_s
        self._connected = connected
        self._clock = clock
        self._lock = threading.RLock()  # re-entrant: an owner may be collected while it is held
        self._publications: list[_Publication] = []
        self._last_seen: dict[str, float] = {}
        self._encoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="viewer-encode")
        self._sweeper: threading.Thread | None = None

    def publish(
        self,
        session: str,
        owner: object,
        encoders: Mapping[str, Encoder],
        *,
        first_at_once: bool = True,
    ) -> Mapping[str, str]:
        """Give each volume of `owner` an address.

        The first volume is encoded at once, in the background, if it is what a reader wants first.
        The others wait until they are asked for, so that they do not keep it waiting.

        Parameters
        ----------
        session : str
            The Streamlit session whose browser may ask for them.
        owner : object
            The study, segmentation or array they belong to. Publishing it again returns the same
            tokens; when it is garbage-collected its volumes go too.
        encoders : mapping
            Name of a volume -> how to encode it.
        first_at_once : bool
            Whether the first is wanted before all else.

        Returns
        -------
        mapping
            Name of a volume -> token.
        """
        with self._lock:
            self._last_seen[session] = self._clock()
            known = self._find(session, owner)
            if known is not None:
                return known.tokens
            tokens = {name: secrets.token_urlsafe(TOKEN_BYTES) for name in encoders}
            waiting = {tokens[name]: encode for name, encode in encoders.items()}
            owner_reference = weakref.ref(owner, self._drop_dead)
            publication = _Publication(session, owner_reference, tokens, waiting)
            self._publications.append(publication)
            if first_at_once:
                self._encode(publication, next(iter(waiting)))
            self._start_sweeper()
            return tokens

    def encode_all(self, session: str, owner: object) -> None:
        """Encode what `owner` has published before anybody asks for it."""
        with self._lock:
            publication = self._find(session, owner)
            if publication is not None:
                for token in list(publication.waiting):
                    self._encode(publication, token)

    def payload(self, token: str) -> Future[Payload] | None:
        """Find the volume at an address, perhaps not encoded yet; None if the address is dead."""
        with self._lock:
            for publication in self._publications:
                if token in publication.waiting:
                    self._encode(publication, token)
                if token in publication.payloads:
                    return publication.payloads[token]
        return None

    def alive(self, token: str) -> bool:
        """Whether an address answers; asks for nothing to be encoded."""
        with self._lock:
            return any(token in publication.tokens.values() for publication in self._publications)

    def forget(self, owner: object) -> None:
        """Kill the addresses of a study or segmentation, in every session."""
        self._drop(lambda publication: publication.owner() is owner)

    def forget_session(self, session: str) -> None:
        """Kill every address a session has published."""
        self._drop(lambda publication: publication.session == session)
        with self._lock:
            self._last_seen.pop(session, None)

    def sweep(self) -> None:
        """Forget the sessions that have been away for longer than the grace period."""
        now = self._clock()
        with self._lock:
            for session in list(self._last_seen):
                if self._connected(session):
                    self._last_seen[session] = now
                elif now - self._last_seen[session] > self.grace_s:
                    self.forget_session(session)

    def _encode(self, publication: _Publication, token: str) -> None:
        encode = publication.waiting.pop(token)
        publication.payloads[token] = self._encoders.submit(encode)

    def _find(self, session: str, owner: object) -> _Publication | None:
        for publication in self._publications:
            if publication.session == session and publication.owner() is owner:
                return publication
        return None

    def _drop_dead(self, _: object) -> None:
        self._drop(lambda publication: publication.owner() is None)

    def _drop(self, condemned: Callable[[_Publication], bool]) -> None:
        with self._lock:
            for publication in [p for p in self._publications if condemned(p)]:
                self._publications.remove(publication)
                for payload in publication.payloads.values():
                    payload.cancel()

    def _start_sweeper(self) -> None:
        if self._sweeper is None:
            self._sweeper = threading.Thread(target=self._sweep_forever, daemon=True)
            self._sweeper.start()

    def _sweep_forever(self) -> None:
        while True:
            time.sleep(min(SWEEP_INTERVAL_S, self.grace_s))
            try:
                self.sweep()
            except Exception:  # what fails once must not stop all later sweeps
                LOG.exception("volumes of closed sessions could not be cleared")


STORE = ScanStore()
"""The process's one store: the routes read what the pages publish."""
