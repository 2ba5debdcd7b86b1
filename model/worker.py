"""The network in a process of its own: whatever kills it costs one answer, never the server.

``python -m model.worker MODEL_DIR`` is that process. It tells in a line of JSON what it has loaded;
then each request, a line of JSON and the bytes of a head, is answered by the bytes of the regions'
probabilities. Heads go through pipes, never through a file. What fails ends the process, and the
next request starts another.
"""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from model.predict import DEFAULT_MODEL, Network
from model.predict import load_network as load_here
from utils.errors import ModelError
from utils.labels import Region
from utils.memory import give_arrays_back
from utils.study import Modality

LOG = logging.getLogger(__name__)
ROOT = Path(__file__).parents[1]
OOM_SCORE = Path("/proc/self/oom_score_adj")
FIRST_TO_GO = "500"  # where memory runs out Linux ends this process, not the server

GRAPHS = ("run", "mirrored")
"""The fields of `Network` that are functions of a head."""

Pipe = IO[bytes]


class ProcessEndedError(Exception):
    """The process at the other end has gone."""


def load_network(folder: Path = DEFAULT_MODEL) -> Network:
    """Load what `model.predict.load_network` loads, in a process of its own.

    Raises
    ------
    ModelError
        If the folder is damaged or the network cannot run on this machine.
    """
    worker = Worker(folder)
    plain = {name: value for name, value in worker.told.items() if name != "graphs"}
    network = Network(partial(worker.run, "run"), **plain | {"window": tuple(plain["window"])})
    if "mirrored" not in worker.told["graphs"]:
        return network
    return replace(network, mirrored=partial(worker.run, "mirrored"))


class Worker:
    """That process, as the server sees it.

    Attributes
    ----------
    process : subprocess.Popen
        The one that answers, or the last one that did.
    told : dict
        What it said of its network: the fields of `Network`, but for ``graphs`` the names of those
        that are functions.

    Raises
    ------
    ModelError
        If it cannot load the network.
    """

    def __init__(self, folder: Path) -> None:
        self._command = [sys.executable, "-m", "model.worker", str(folder.resolve())]
        self._lock = threading.Lock()  # one head at a time
        self.process, self.told = self._start()

    def run(self, graph: str, head: NDArray[np.float32]) -> NDArray[np.float32]:
        """Have one of the network's functions look at a head.

        Parameters
        ----------
        graph : str
            Its name, see `Network`.
        head : (i, j, k, 4) float32 array
            In C order.

        Returns
        -------
        (i, j, k, 3) float32 array
            Region probabilities.

        Raises
        ------
        ProcessEndedError
            If the process ended before it had answered.
        """
        with self._lock:
            if self.process.poll() is not None:
                self._end()
                self.process, _ = self._start()
            requests, answers = _pipes(self.process)
            try:
                _write(requests, {"graph": graph, "shape": head.shape[:3]}, head)
                return _read_array(answers, (*head.shape[:3], len(Region)))
            except (OSError, ProcessEndedError) as error:
                self._end()
                raise ProcessEndedError from error

    def _start(self) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C is the server's; without one this process ends
        )
        try:
            told = _read_line(_pipes(process)[1])
        except ProcessEndedError as error:
            raise ModelError(
                "The network's process ended while it was starting; nothing can be segmented. "
                "Close other programs to free memory and start again."
            ) from error
        if "refused" in told:
            raise ModelError(told["refused"])
        return process, told

    def _end(self) -> None:
        self.process.kill()
        self.process.communicate()  # it is waited for, and its pipes are closed


def serve(network: Network, requests: Pipe, answers: Pipe) -> None:
    """Tell what the network is, then answer until nobody asks any more."""
    plain = {f.name: getattr(network, f.name) for f in fields(network)}
    graphs = {name: graph for name in GRAPHS if (graph := plain.pop(name)) is not None}
    _write(answers, plain | {"graphs": [*graphs]})
    with suppress(ProcessEndedError):
        while True:
            _answer(graphs, requests, answers)


def _answer(graphs: Mapping[str, Any], requests: Pipe, answers: Pipe) -> None:
    """One request; nothing of the head outlives it."""
    asked = _read_line(requests)
    head = _read_array(requests, (*asked["shape"], len(Modality)))
    answers.write(np.ascontiguousarray(graphs[asked["graph"]](head)).data)
    answers.flush()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[Pipe, Pipe]:
    return cast(Pipe, process.stdin), cast(Pipe, process.stdout)


def _write(pipe: Pipe, line: Mapping[str, Any], *arrays: NDArray[np.float32]) -> None:
    pipe.write(json.dumps(line).encode() + b"\n")
    for array in arrays:
        pipe.write(array.data)
    pipe.flush()


def _read_line(pipe: Pipe) -> dict[str, Any]:
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise ProcessEndedError
    return dict(json.loads(line))


def _read_array(pipe: Pipe, shape: tuple[int, ...]) -> NDArray[np.float32]:
    size = prod(shape) * np.dtype(np.float32).itemsize
    data = pipe.read(size)
    if len(data) < size:
        raise ProcessEndedError
    return np.frombuffer(data, np.float32).reshape(shape)


def main() -> int:
    give_arrays_back()
    with suppress(OSError):
        OOM_SCORE.write_text(FIRST_TO_GO)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    try:
        network = load_here(Path(sys.argv[1]))
    except ModelError as error:
        _write(answers, {"refused": str(error)})
        return 1
    try:
        serve(network, sys.stdin.buffer, answers)
    except Exception as error:  # noqa: BLE001  # a traceback would quote what it was at work on
        LOG.error("the network failed: %s", type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
