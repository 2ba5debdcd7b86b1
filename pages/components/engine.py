"""The network for everybody: loaded once, one study at a time, never in a script run.

Work started inside a script run dies as soon as the reader touches a widget; here it runs on a
thread of its own, which waits for the network's process, and pages only look at it.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import streamlit as st

from model.predict import Network, region_probabilities, segment
from model.reliability import shipped_reliability
from model.worker import load_network
from utils.errors import ModelError, UserError
from utils.notice import Notice
from utils.segmentation import Segmentation
from utils.study import Modality, Study

LOG = logging.getLogger(__name__)
FIRST_GUESS_S = 15.0  # until this machine has been timed


class _CancelledError(Exception):
    """The reader gave up waiting."""


class Job:
    """One study on its way through the network."""

    def __init__(self, study: Study, notices: Sequence[Notice], expected_s: float) -> None:
        self.study: Study | None = study
        self.notices = tuple(notices)
        self.expected_s = expected_s
        self.share = 0.0
        self.started: float | None = None
        self._cancelled = threading.Event()
        self._future: Future[Segmentation] = Future()

    @property
    def done(self) -> bool:
        """Whether there is a result or a reason why there is none."""
        return self._future.done()

    @property
    def remaining_s(self) -> float:
        """Seconds that are probably left once it runs."""
        elapsed = 0.0 if self.started is None else time.monotonic() - self.started
        return max(1.0, self.expected_s - elapsed)

    @property
    def cancelled(self) -> bool:
        """Whether the reader gave up."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Give up; a running network stops at its next step, a waiting study is let go at once."""
        self._cancelled.set()
        if self.started is None:
            self.study = None

    def result(self) -> Segmentation:
        """The segmentation.

        Raises
        ------
        UserError
            If there is none: one sentence for the reader.
        """
        return self._future.result(timeout=0)

    def run(self, network: Network) -> bool:
        """Segment the study, and say whether there is a result.

        Called by the engine's thread, which must survive whatever happens.
        """
        self.started = time.monotonic()
        study, self.study = self.study, None
        try:
            if study is None:
                raise _CancelledError
            self._future.set_result(segment(study, network, self.notices, self._advance))
        except UserError as error:
            self._future.set_exception(_alone(error))
        except _CancelledError:
            self._future.set_exception(UserError("The segmentation was cancelled."))
        except Exception as error:  # noqa: BLE001  # logged here, told below, and never a mask
            LOG.error("segmentation failed: %s", type(error).__name__)
            self._future.set_exception(_unexpected(error))
        return self._future.exception() is None

    def fail(self, error: UserError) -> None:
        """End without a result."""
        self._future.set_exception(error)

    def _advance(self, share: float) -> None:
        self.share = share
        if self._cancelled.is_set():
            raise _CancelledError


class Engine:
    """The queue before the network."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")
        self._waiting: list[Job] = []
        self._expected_s = FIRST_GUESS_S
        self._network: Network | None = None
        self._failure: UserError | None = None
        self._worker.submit(self._load)

    @property
    def runtime(self) -> str | None:
        """What the network runs on, e.g. ``"openvino on CPU"``; None before it is loaded."""
        return self._network.runtime if self._network else None

    @property
    def failure(self) -> UserError | None:
        """Why the network could not be loaded, in one sentence for the reader."""
        return self._failure

    @property
    def ready(self) -> bool:
        """Whether the network has been loaded and has met a head, or never will."""
        return self._network is not None or self._failure is not None

    def load_again(self) -> None:
        """Try to load the network once more, if that has failed."""
        if self._failure is not None:
            self._failure = None
            self._worker.submit(self._load)

    def submit(self, study: Study, notices: Sequence[Notice]) -> Job:
        """Queue a study; returns at once."""
        job = Job(study, notices, self._expected_s)
        self._waiting.append(job)
        self._worker.submit(self._run, job)
        return job

    def ahead_of(self, job: Job) -> int:
        """How many studies, of whomever, come first."""
        # a copy: the engine's thread may take one out meanwhile
        waiting = [other for other in self._waiting if other is job or not other.cancelled]
        return waiting.index(job) if job in waiting else 0

    def _load(self) -> None:
        try:
            shipped_reliability()  # a mask is only shown with its expected error
            network = load_network()
            edge = 8 * network.stride  # a small blank head: what cannot run here fails now
            region_probabilities(np.zeros((edge, edge, edge, len(Modality)), np.float32), network)
        except UserError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001  # the reader is told, the queue goes on
            LOG.error("the network could not be loaded: %s", type(error).__name__)
            self._failure = _unexpected(error)
        else:
            self._network = network

    def _run(self, job: Job) -> None:
        started = time.monotonic()
        try:
            if self._network is None:
                job.fail(self._failure or _NOT_LOADED)
            elif job.run(self._network):
                self._expected_s = time.monotonic() - started
        finally:
            self._waiting.remove(job)


_NOT_LOADED = ModelError("The network is being loaded again. Try again in a moment.")


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The one engine of this server; it starts to load the network when first asked for."""
    return Engine()


def _alone(error: UserError) -> UserError:
    """The sentence without its traceback, which holds on to the study it failed on."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _unexpected(error: Exception) -> ModelError:
    return ModelError(
        f"The network stopped unexpectedly ({type(error).__name__}); nothing was segmented. "
        "Try again, and report it if it happens twice."
    )
