import gc
import threading
import time
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.predict import Network
from model.reliability import read_reliability
from pages.components import engine as engine_module
from pages.components.engine import Engine, Job
from pages.components.session import Visit
from utils.errors import ModelError, UserError
from utils.intake import Intake
from utils.study import Study


def network(run) -> Network:
    return Network(
        run, window=(48, 56, 40), model_id="fake", weights_sha256="0" * 64, runtime="by hand"
    )


def nothing_found(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.zeros((*tensor.shape[:3], 3), np.float32)


class Slow:
    """A network that takes as long as a test needs."""

    def __init__(self) -> None:
        self.running, self.gate = threading.Event(), threading.Event()

    def __call__(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        if tensor.any():  # the engine's own trial run is blank
            self.running.set()
            self.gate.wait(30)
        return nothing_found(tensor)


def engine_with(monkeypatch: pytest.MonkeyPatch, load) -> Engine:
    monkeypatch.setattr(engine_module, "load_network", load)
    return Engine()


def wait(job: Job) -> Job:
    deadline = time.monotonic() + 30
    while not job.done:
        assert time.monotonic() < deadline, "the job did not end"
        time.sleep(0.01)
    return job


def test_a_job_ends_in_a_segmentation(monkeypatch: pytest.MonkeyPatch, study: Study) -> None:
    engine = engine_with(monkeypatch, lambda: network(nothing_found))
    job = wait(engine.submit(study, ()))
    assert not job.result().labels.any()
    assert job.share > 0
    assert engine.runtime == "by hand"


def test_the_second_study_waits_for_the_first(
    monkeypatch: pytest.MonkeyPatch, study: Study
) -> None:
    slow = Slow()
    engine = engine_with(monkeypatch, lambda: network(slow))
    first, second = (engine.submit(study, ()) for _ in range(2))
    assert (engine.ahead_of(first), engine.ahead_of(second)) == (0, 1)
    assert second.started is None
    slow.gate.set()
    wait(second)
    assert first.done
    assert engine.ahead_of(second) == 0


def test_a_cancelled_job_gives_no_result(monkeypatch: pytest.MonkeyPatch, study: Study) -> None:
    engine = engine_with(monkeypatch, lambda: network(nothing_found))
    job = engine.submit(study, ())
    job.cancel()
    with pytest.raises(UserError, match="cancelled"):
        wait(job).result()


def test_a_waiting_study_is_let_go_at_once_and_nobody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, study: Study
) -> None:
    slow = Slow()
    engine = engine_with(monkeypatch, lambda: network(slow))
    _, second, third = (engine.submit(study, ()) for _ in range(3))
    assert engine.ahead_of(third) == 2
    second.cancel()
    assert second.study is None
    assert engine.ahead_of(third) == 1
    slow.gate.set()
    wait(third).result()
    with pytest.raises(UserError, match="cancelled"):
        second.result()


def test_a_failure_costs_one_job_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, study: Study
) -> None:
    failures = [MemoryError("out of memory")]

    def flaky(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        if tensor.any() and failures:  # the engine's own trial run is blank
            raise failures.pop()
        return nothing_found(tensor)

    engine = engine_with(monkeypatch, lambda: network(flaky))
    first, second = (engine.submit(study, ()) for _ in range(2))
    with pytest.raises(ModelError, match="nothing was segmented"):
        wait(first).result()
    assert not wait(second).result().labels.any()


def test_an_unforeseen_error_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, study: Study
) -> None:
    def impossible() -> Network:
        raise ZeroDivisionError

    engine = engine_with(monkeypatch, impossible)
    with pytest.raises(ModelError, match=r"stopped unexpectedly \(ZeroDivisionError\)"):
        wait(engine.submit(study, ())).result()
    assert engine.runtime is None


def test_a_network_that_could_not_be_loaded_can_be_loaded_again(
    monkeypatch: pytest.MonkeyPatch, study: Study
) -> None:
    damaged = [ModelError("The weights are damaged. Restore them.")]

    def load() -> Network:
        if damaged:
            raise damaged.pop()
        return network(nothing_found)

    engine = engine_with(monkeypatch, load)
    with pytest.raises(ModelError, match="Restore them"):
        wait(engine.submit(study, ())).result()
    assert "Restore them" in str(engine.failure)
    engine.load_again()
    engine.load_again()  # a second click
    assert not wait(engine.submit(study, ())).result().labels.any()
    assert engine.failure is None
    assert engine.runtime == "by hand"


@pytest.mark.parametrize("graph", ["run", "mirrored"])
def test_a_network_that_cannot_run_here_is_known_before_the_first_study(
    monkeypatch: pytest.MonkeyPatch, graph: str
) -> None:
    def failing(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        raise RuntimeError("illegal instruction")

    whole = replace(network(nothing_found), mirrored=nothing_found)
    engine = engine_with(monkeypatch, lambda: replace(whole, **{graph: failing}))
    deadline = time.monotonic() + 30
    while not engine.ready:
        assert time.monotonic() < deadline, "the engine never got ready"
        time.sleep(0.01)
    assert "could not run on this machine (RuntimeError)" in str(engine.failure)
    assert engine.runtime is None


def test_a_job_whose_reader_is_gone_is_given_up(
    monkeypatch: pytest.MonkeyPatch, study: Study
) -> None:
    slow = Slow()
    engine = engine_with(monkeypatch, lambda: network(slow))
    visit = Visit(Intake(study, (), {}))
    visit.job = job = engine.submit(study, ())
    assert slow.running.wait(30)
    del visit  # as when its session is closed, whichever way
    gc.collect()
    assert job.cancelled
    slow.gate.set()
    with pytest.raises(UserError, match="cancelled"):
        wait(job).result()
    assert job.study is None


def test_a_study_on_which_the_network_failed_is_let_go(
    monkeypatch: pytest.MonkeyPatch, study: Study
) -> None:
    def failing(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        if tensor.any():  # the engine's own trial run is blank
            raise MemoryError
        return nothing_found(tensor)

    engine = engine_with(monkeypatch, lambda: network(failing))
    patient = Study(dict(study.scans))
    wait(engine.submit(patient, ()))
    gone = weakref.ref(patient)
    gc.disable()  # it must not take the collector, which comes when it likes
    try:
        del patient
        deadline = time.monotonic() + 5  # the engine's thread may still be on its way out
        while gone() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gone() is None
    finally:
        gc.enable()


def test_without_its_figures_the_model_does_not_serve(
    monkeypatch: pytest.MonkeyPatch, study: Study, tmp_path: Path
) -> None:
    unmeasured = partial(read_reliability, tmp_path)
    monkeypatch.setattr(engine_module, "shipped_reliability", unmeasured)
    engine = engine_with(monkeypatch, lambda: network(nothing_found))
    with pytest.raises(ModelError, match=r"lacks its figures \(metrics.json\)"):
        wait(engine.submit(study, ())).result()
