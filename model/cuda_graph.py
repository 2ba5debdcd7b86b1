"""A training step as one CUDA graph: what torch is asked for once and repeats by itself.

Dispatched one by one from Python, the two thousand operations of a step take longer than they run.
Needs torch and a GPU; `model.device.replayed` decides whether it is used.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import torch
from torch.overrides import TorchFunctionMode

WARM_UPS = 3  # steps of a shape: cuDNN tries its algorithms, the optimizer creates its state


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: list[torch.Tensor]
    result: Any


class Replayed:
    """A function of tensors that changes others in place; recorded for each shape of the first.

    The first calls of a shape run as they are. What a later one returns is overwritten by the
    next.
    """

    def __init__(self, step: Callable[[Any], Any]) -> None:
        self._step = step
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()  # one call at a time: all may share it
        self._calls: Counter[Any] = Counter()
        self._recordings: dict[Any, _Recording] = {}

    def __call__(self, batch: Any) -> Any:
        given = _tensors(batch)
        shapes = tuple(tensor.shape for tensor in given)
        self._calls[shapes] += 1
        if self._calls[shapes] <= WARM_UPS:
            return self._run(batch)
        if shapes not in self._recordings:
            self._recordings[shapes] = self._record(batch)
        recording = self._recordings[shapes]
        for held, new in zip(recording.inputs, given, strict=True):
            held.copy_(new)
        recording.graph.replay()
        return recording.result

    def _run(self, batch: Any) -> Any:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = self._step(batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def _record(self, batch: Any) -> _Recording:
        held = keras.tree.map_structure(lambda leaf: leaf if leaf is None else leaf.clone(), batch)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream), FilledNumbers():
            result = self._step(held)
        return _Recording(graph, _tensors(held), result)


class FilledNumbers(TorchFunctionMode):  # type: ignore[misc]  # torch has no types here
    """Has numbers written on the GPU: none may be copied to it while a graph is recorded."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        makes_tensor = function in (torch.tensor, torch.as_tensor)
        if makes_tensor and isinstance(args[0], (bool, int, float)):
            return torch.full((), args[0], **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _tensors(batch: Any) -> list[torch.Tensor]:
    return [leaf for leaf in keras.tree.flatten(batch) if leaf is not None]
