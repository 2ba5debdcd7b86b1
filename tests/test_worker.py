"""The network's own process: killed, starved or left alone, it takes nothing with it."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from model import predict, worker
from model.bundle import WEIGHTS, save_bundle
from model.config import TrainConfig, UNetConfig
from model.unet import build_unet
from model.worker import ProcessEndedError, Worker
from pages.components import engine as engine_module
from pages.components.engine import Engine
from tests.test_engine import wait
from utils.errors import ModelError
from utils.phantom import demo_study

UNET = UNetConfig(width=4, depth=1)
HEAD = np.random.default_rng(0).random((40, 48, 32, 4), np.float32)
LARGE = np.zeros((160, 192, 160, 4), np.float32)

LOAD_AND_WAIT = """
import sys, time
from pathlib import Path
from model.worker import Worker
worker = Worker(Path(sys.argv[1]))
print(worker.process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two networks, one of them a fold."""
    folder = tmp_path_factory.mktemp("models") / "small"
    cases = {"train": ["a"], "validation": ["b"], "test": ["c"]}
    for place in (folder, folder / "fold0"):
        save_bundle(build_unet(UNET), place, UNET, TrainConfig(), cases)
    return folder


@pytest.fixture
def alone(folder: Path) -> Iterator[Worker]:
    worker = Worker(folder)
    yield worker
    worker._end()


def kill_at_work(worker: Worker) -> None:
    """Let the next head find it asleep, and never see it wake."""
    os.kill(worker.process.pid, signal.SIGSTOP)
    threading.Timer(2, worker.process.kill).start()


def mebibytes(worker: Worker) -> int:
    """Memory the process keeps, with its last answer written and read."""
    time.sleep(0.5)
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


def lives(pid: int) -> bool:
    """Whether a process is neither gone nor a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_it_answers_what_the_network_answers_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    here, there = predict.load_network(folder), worker.load_network(folder)
    for graph in ("run", "mirrored"):
        np.testing.assert_allclose(getattr(there, graph)(HEAD), getattr(here, graph)(HEAD), 0, 1e-6)
    plain = {"run": None, "mirrored": None}
    assert replace(there, **plain) == replace(here, **plain)


def test_killed_between_two_heads_it_answers_the_second_all_the_same(alone: Worker) -> None:
    first = alone.run("run", HEAD)
    before = alone.process.pid
    alone.process.kill()
    alone.process.wait()
    np.testing.assert_array_equal(alone.run("run", HEAD), first)
    assert alone.process.pid != before


def test_killed_at_work_it_costs_one_answer(alone: Worker) -> None:
    before = alone.run("run", HEAD)
    kill_at_work(alone)
    with pytest.raises(ProcessEndedError):
        alone.run("run", HEAD)
    np.testing.assert_array_equal(alone.run("run", HEAD), before)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux's")
def test_out_of_memory_it_costs_one_answer(alone: Worker) -> None:
    before = alone.run("run", HEAD)
    used = (
        int(Path(f"/proc/{alone.process.pid}/statm").read_text().split()[0])
        * resource.getpagesize()
    )
    limit = used + 2**24, used + 2**24  # 16 MB more; the head alone takes 79
    resource.prlimit(alone.process.pid, resource.RLIMIT_AS, limit)
    with pytest.raises(ProcessEndedError):
        alone.run("run", LARGE)
    np.testing.assert_array_equal(alone.run("run", HEAD), before)


@pytest.mark.skipif(sys.platform != "linux", reason="the score is Linux's")
def test_where_memory_runs_out_linux_ends_it_and_not_the_server(alone: Worker) -> None:
    theirs, ours = (
        int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (alone.process.pid, "self")
    )
    assert theirs == 500 > ours


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_nothing_of_a_head_stays_with_it(alone: Worker) -> None:
    alone.run("run", HEAD)
    before = mebibytes(alone)
    alone.run("run", LARGE)  # 75 MiB, and 56 MiB of probabilities
    assert mebibytes(alone) < before + 30


def test_it_ends_with_the_server_however_that_ends(folder: Path) -> None:
    command = [sys.executable, "-c", LOAD_AND_WAIT, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=worker.ROOT) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert lives(pid)
        server.kill()
    deadline = time.monotonic() + 20
    while lives(pid):
        assert time.monotonic() < deadline, "the process did not end"
        time.sleep(0.05)


def test_a_damaged_model_is_refused_in_the_words_it_is_refused_in_here(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "small"
    copy.mkdir()
    for file in ("config.json", WEIGHTS):
        (copy / file).write_bytes((folder / file).read_bytes())
    spoiled = bytearray((copy / WEIGHTS).read_bytes())
    spoiled[-1] ^= 1
    (copy / WEIGHTS).write_bytes(spoiled)
    with pytest.raises(ModelError) as here:
        predict.load_network(copy)
    with pytest.raises(ModelError) as there:
        worker.load_network(copy)
    assert str(there.value) == str(here.value)


def test_the_server_lives_on_and_the_next_study_is_segmented(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Worker] = []
    monkeypatch.setattr(engine_module, "load_network", lambda: worker.load_network(folder))
    monkeypatch.setattr(worker, "Worker", lambda at: started.append(Worker(at)) or started[-1])
    engine, (study, _) = Engine(), demo_study()
    first = wait(engine.submit(study, ())).result()
    kill_at_work(started[0])
    with pytest.raises(ModelError, match="nothing was segmented"):
        wait(engine.submit(study, ())).result()
    np.testing.assert_array_equal(wait(engine.submit(study, ())).result().labels, first.labels)
