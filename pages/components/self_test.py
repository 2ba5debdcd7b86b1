"""The self-test: a phantom through the real engine, run after run, while the page looks on."""

from dataclasses import dataclass, field

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from model.bundle import joint_sha256, read_members
from model.predict import DEFAULT_MODEL
from pages.components.engine import Job, engine
from pages.components.session import keep, recall
from utils.errors import UserError
from utils.phantom import demo_study
from utils.segmentation import Segmentation
from utils.self_test import RUNS, Check, Run, checks, turned
from utils.study import Study

_KEPT = "self-test"


@dataclass
class SelfTest:
    """A test under way, and what came of it.

    Attributes
    ----------
    study, truth : Study, (I, J, K) uint8 array
        The phantom.
    runs : list of Run
        Those that are finished.
    job : Job or None
        The one under way.
    result : tuple of Check or None
        All lines, once every run is finished.
    error : str or None
        Why there is no result.
    """

    study: Study
    truth: NDArray[np.uint8]
    runs: list[Run] = field(default_factory=list)
    job: Job | None = None
    result: tuple[Check, ...] | None = None
    error: str | None = None

    def __del__(self) -> None:
        """Nobody waits for the result any more."""
        if self.job is not None:
            self.job.cancel()

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        under_way = self.job.share if self.job else 0.0
        return min(1.0, (len(self.runs) + under_way) / len(RUNS))

    def advance(self) -> bool:
        """Take over a finished run and start the next; says whether the test has ended."""
        try:
            if self.job is not None and self.job.done:
                self._collect(self.job.result())
            if len(self.runs) == len(RUNS):
                self._judge()
            elif self.job is None:
                self.job = engine().submit(turned(self.study, RUNS[len(self.runs)]), ())
        except UserError as error:
            self.job, self.error = None, str(error)
        return self.result is not None or self.error is not None

    def _collect(self, segmentation: Segmentation) -> None:
        self.job = None
        self.runs.append(Run.of(segmentation))

    def _judge(self) -> None:
        on_disk = joint_sha256(read_members(DEFAULT_MODEL))
        self.result = checks(self.study, self.truth, self.runs, on_disk)
        self.runs.clear()


@dataclass
class _Kept:
    test: SelfTest | None = None


def current_test() -> SelfTest | None:
    """The test of this session, if one was started."""
    kept = keep(_KEPT, _Kept)
    return kept.test


def start_button(title: str) -> None:
    """Start anew."""
    if st.button(title, key="start_test", type="primary", icon=":material/fact_check:"):
        with st.spinner("Making the phantom …"):
            study, truth = demo_study()
        keep(_KEPT, _Kept).test = SelfTest(study, truth)
        st.rerun()


@st.fragment(run_every=1.0)
def watch_test() -> None:
    """Progress; reruns the page when the test has ended."""
    kept: _Kept | None = recall(_KEPT)
    test = kept.test if kept else None
    if test is None or test.advance():
        st.rerun()
        return
    ahead = engine().ahead_of(test.job) if test.job else 0
    run = f"Run {len(test.runs) + 1} of {len(RUNS)}: {RUNS[len(test.runs)]} axes"
    st.progress(test.share, f"{run}; studies before it: {ahead}." if ahead else f"{run} …")


def show_result(test: SelfTest) -> None:
    """A tick or a cross a line, with its figure."""
    if test.error is not None:
        st.error(f"The self-test could not be finished. {test.error}")
        return
    if test.result is None:
        raise ValueError("a test under way has no result")
    failed = [check.title for check in test.result if not check.passed]
    if failed:
        st.error(
            f"{len(failed)} of {len(test.result)} checks failed. Do not use masks from this "
            "computer; reinstall the packages, restore the model folder, and test again."
        )
    else:
        st.success(f"All {len(test.result)} checks passed on this computer.")
    for check in test.result:
        sign = (
            ":green[:material/check_circle:]" if check.passed else ":red[:material/cancel:] Failed:"
        )
        st.markdown(f"{sign} **{check.title}**  \n{check.figure}")
