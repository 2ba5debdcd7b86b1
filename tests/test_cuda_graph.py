"""On a GPU a training step is recorded once a shape; a stand-in for torch's GPU keeps count."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest


class Tensor(np.ndarray[Any, Any]):
    """An array with what is asked of a tensor on a GPU."""

    def clone(self) -> "Tensor":
        return self.copy()

    def copy_(self, other: "Tensor") -> None:
        self[...] = other


def tensor(*values: float) -> Tensor:
    return np.array(values).view(Tensor)


class Stream:
    def wait_stream(self, other: Any) -> None: ...


class Graph:
    """While it records, nothing happens; what was asked for happens when it is replayed."""

    recording: "Graph | None" = None

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def replay(self) -> None:
        for what in self.asked:
            what()


@contextmanager
def record(graph: Graph, **_: Any) -> Iterator[None]:
    Graph.recording = graph
    yield
    Graph.recording = None


@contextmanager
def on(_: Stream) -> Iterator[None]:
    yield


class Mode:
    on = False

    def __enter__(self) -> None:
        Mode.on = True

    def __exit__(self, *_: object) -> None:
        Mode.on = False


@pytest.fixture
def cuda_graph(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    torch, overrides = ModuleType("torch"), ModuleType("torch.overrides")
    vars(overrides)["TorchFunctionMode"] = Mode
    vars(torch).update(
        Tensor=Tensor,
        tensor=lambda value, **_: ("copied", value),
        as_tensor=lambda value, **_: ("copied", value),
        full=lambda shape, value, **_: ("filled", shape, value),
        cuda=SimpleNamespace(
            Stream=Stream,
            CUDAGraph=Graph,
            graph=record,
            stream=on,
            current_stream=Stream,
            graph_pool_handle=lambda: None,
        ),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch.overrides", overrides)
    monkeypatch.delitem(sys.modules, "model.cuda_graph", raising=False)
    yield import_module("model.cuda_graph")
    del sys.modules["model.cuda_graph"]


def test_a_step_is_recorded_once_a_shape_and_sees_every_batch(cuda_graph: ModuleType) -> None:
    runs: list[str] = []
    total = tensor(0.0)

    def step(batch: Any) -> Tensor:
        ((scans, regions, _),) = batch

        def add() -> None:
            total[0] += (scans * regions).sum()

        assert Mode.on == (Graph.recording is not None)  # while it records, numbers are filled in
        runs.append("recorded" if Graph.recording else "run")
        Graph.recording.asked.append(add) if Graph.recording else add()
        return total

    replayed = cuda_graph.Replayed(step)
    expected = 0.0
    for number in range(1, 7):
        for size in (1, 2):
            scans, regions = tensor(*[number] * size), tensor(*[10.0] * size)
            expected += 10 * number * size
            assert replayed([(scans, regions, None)])[0] == expected
    assert runs == ["run", "run"] * cuda_graph.WARM_UPS + ["recorded", "recorded"]


def test_numbers_are_filled_in_and_everything_else_is_left_as_it_is(
    cuda_graph: ModuleType,
) -> None:
    torch: Any = sys.modules["torch"]
    mode = cuda_graph.FilledNumbers()
    for make in (torch.tensor, torch.as_tensor):
        assert mode.__torch_function__(make, (), (0.5,), {"device": "cuda"}) == ("filled", (), 0.5)
        assert mode.__torch_function__(make, (), ([1, 2],)) == ("copied", [1, 2])
    assert mode.__torch_function__(max, (), (1, 2)) == 2


CAN_BE_RECORDED = """
import keras, torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from model.config import TrainConfig, UNetConfig
from model.cuda_graph import FilledNumbers
from model.losses import dice_cross_entropy
from model.train import Settled, _optimizer
from model.unet import build_unet

class NothingFromTheHost(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function not in (torch.tensor, torch.as_tensor, torch.from_numpy), args
        return function(*args, **(kwargs or {}))

class NothingToTheHost(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(function)
        return function(*args, **(kwargs or {}))

keras.mixed_precision.set_global_policy("mixed_bfloat16")
for settled in (False, True):
    model = build_unet(UNetConfig(width=4))
    if settled:
        model = Settled(model.input, model.output)
    model.compile(_optimizer(TrainConfig()), dice_cross_entropy, jit_compile=False)
    scans, regions = torch.rand(2, 16, 16, 16, 4), (torch.rand(2, 16, 16, 16, 3) > 0.5).float()
    model.train_on_batch(scans, regions)
    before = model.get_weights()
    with NothingToTheHost(), NothingFromTheHost(), FilledNumbers():
        model.train_function([(scans, regions, None)])
    assert any((a != b).any() for a, b in zip(before, model.get_weights()))
"""


@pytest.mark.skipif(not find_spec("torch"), reason="torch is there to train with: make .venv/train")
def test_a_training_step_neither_asks_for_a_value_nor_brings_one() -> None:
    """A graph holds only what happens on the GPU."""
    command = [sys.executable, "-c", CAN_BE_RECORDED]
    environment = {"KERAS_BACKEND": "torch", "PYTHONPATH": ".", "PATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
