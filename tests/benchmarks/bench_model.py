"""Measure the way from four files to a verified mask: ``python -m tests.benchmarks.bench_model``.

Without a study folder the demo study is written to disk and segmented. Seconds of a busy machine
say little, so the CPU's own seconds stand beside them, and beside the network's those that its
operations would take at the rate of one large convolution, measured in the same run.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset16

from model.bundle import load_model, read_bundle
from model.predict import DEFAULT_MODEL, Network, load_network, segment
from model.runtime import Run, graph, settings
from utils.intake import read_study_folder
from utils.memory import give_arrays_back
from utils.nifti import write_labels
from utils.phantom import demo_study

REPETITIONS = 3
NETWORK = "network"
PEAK_CHANNELS, PEAK_EDGE = 96, 64
MIB = 2**20
RIVAL = Path(__file__).with_name("nnunet_sized.py")
LOAD = "from model.predict import load_network; load_network()"


@dataclass
class Clock:
    """Wall and CPU seconds of everything that was run under a name, and what the network saw."""

    times: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    shape: tuple[int, ...] = ()

    def __call__(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function and note what it took."""
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = function(*arguments)
        spent = time.perf_counter() - wall, time.process_time() - cpu
        self.times.setdefault(name, []).append(spent)
        return outcome

    def medians(self, name: str) -> tuple[float, float]:
        """Return wall and CPU seconds."""
        wall, cpu = zip(*self.times[name], strict=True)
        return statistics.median(wall), statistics.median(cpu)

    @property
    def windows(self) -> int:
        """How often the network ran for one study."""
        return len(self.times[NETWORK]) // REPETITIONS

    @property
    def a_study(self) -> NDArray[np.float64]:
        """Wall and CPU seconds of the network for one study."""
        return np.array(self.medians(NETWORK)) * self.windows


def say(name: str, text: str) -> None:
    sys.stdout.write(f"{name:<42}{text}\n")
    sys.stdout.flush()


def seconds(wall: float, cpu: float) -> str:
    return f"{wall:7.2f} s {cpu:7.2f} s of CPU"


def write_demo_study(folder: Path) -> Path:
    study, _ = demo_study()
    for modality, scan in study.scans.items():
        image = nib.Nifti1Image(scan.values.astype(np.int16), study.grid.affine)
        nib.save(image, folder / f"demo_{modality.value}.nii.gz")
    return folder


def cold(name: str, *arguments: str) -> None:
    """Run Python from nothing, and say what it took."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"{name} failed")
    cpu = usage.ru_utime + usage.ru_stime
    say(name, f"{seconds(wall, cpu)}, peak {usage.ru_maxrss * 1024 / MIB:.0f} MiB")


def warm(study: Path, network: Network, clock: Clock) -> bytes:
    """Segment once, files to verified mask, every step on the clock."""

    def timed(run: Run) -> Run:
        def on_the_clock(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
            clock.shape = tensor.shape
            found: NDArray[np.float32] = clock(NETWORK, run, tensor)
            return found

        return on_the_clock

    run, mirrored = (timed(run) for run in (network.run, network.mirrored or network.run))
    watched = replace(network, run=run, mirrored=mirrored)

    def whole() -> bytes:
        intake = clock("read and check", read_study_folder, study)
        result = clock("segment", segment, intake.study, watched, intake.notices)
        mask: bytes = clock("write and verify", write_labels, result.labels, result.grid)
        return mask

    mask: bytes = clock("whole", whole)
    return mask


def bench_pipeline(study: Path, network: Network, mask: Path) -> Clock:
    """Say what a study costs once the network is loaded, and whether its mask stays the same."""
    first = Clock()
    warm(study, network, first)
    say("loaded: four files to verified mask", seconds(*first.medians("whole")))
    clock = Clock()
    masks = {warm(study, network, clock) for _ in range(REPETITIONS)}
    rest = clock.medians("segment") - clock.a_study
    say("warm, a head of the same shape again", seconds(*clock.medians("whole")))
    say("  reading and checking", seconds(*clock.medians("read and check")))
    say(f"  network, {clock.windows} runs", seconds(*clock.a_study))
    say("  before, between and after", seconds(*rest))
    say("  writing and verifying", seconds(*clock.medians("write and verify")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    say("peak memory of the process", f"{peak:7.0f} MiB")
    same = len(masks | {mask.read_bytes()}) == 1
    say("masks of all runs, warm and cold", "  identical" if same else "  DIFFERENT")
    return clock


def gflop(model: openvino.Model) -> float:
    """Count the convolutions' operations; a multiplication and an addition are two."""
    macs = 0
    for operation in model.get_ops():
        # kernels are (out, in, ...) forwards and (in, out, ...) transposed
        if operation.get_type_name() == "Convolution":
            places = operation.output(0).get_shape()[2:]
        elif operation.get_type_name() == "ConvolutionBackpropData":
            places = operation.input(0).get_shape()[2:]
        else:
            continue
        macs += int(np.prod(operation.input(1).get_shape())) * int(np.prod(places))
    return 2 * macs / 1e9


def peak_rate() -> tuple[float, float]:
    """GFLOP per wall and per CPU second of one large convolution, nothing around it."""
    channels, edges = PEAK_CHANNELS, [PEAK_EDGE] * 3
    random = np.random.default_rng(0).random
    scans = opset16.parameter([1, channels, *edges], np.float32)
    kernel = opset16.constant(random((channels, channels, 3, 3, 3), np.float32))
    around = [1, 1, 1]
    output = opset16.convolution(scans, kernel, around, around, around, around)
    model = openvino.Model([output], [scans])
    request = openvino.compile_model(model, "CPU", settings()).create_infer_request()
    tensor: NDArray[np.float32] = random((1, channels, *edges), np.float32)
    clock = Clock()
    for _ in range(REPETITIONS + 1):
        clock("peak", request.infer, [tensor])
    wall, cpu = (min(times) for times in zip(*clock.times["peak"], strict=True))
    return gflop(model) / wall, gflop(model) / cpu


def bench_floor(folder: Path, network: Network, clock: Clock) -> None:
    """Say how far the network is from what its operations cost at the machine's peak."""
    wall, cpu = peak_rate()
    say("peak, one large convolution", f"{wall:7.0f} GFLOP/s, {cpu:.0f} per second of CPU")
    model = graph(load_model(read_bundle(folder)))
    model.reshape([1, *clock.shape])
    work = gflop(model)
    looks = max(2, network.networks) * clock.windows / 2
    ratios = clock.a_study * (wall, cpu) / (work * looks)
    say(
        "network against that floor",
        f"{work:7.0f} GFLOP, {looks:.0f} times, {ratios[0]:.2f} times the wall time, "
        f"{ratios[1]:.2f} times the CPU time",
    )


def bench_rival(python: str | None, clock: Clock) -> None:
    """Say what a network of nnU-Net's size costs under PyTorch, if there is one."""
    if python is None:
        say("nnU-Net-sized network under PyTorch", "left out: no torch here; name a --torch PYTHON")
        return
    command = [python, str(RIVAL), *map(str, clock.shape[:3])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rival = json.loads(done.stdout)
    windows = rival["windows"]
    wall, cpu = rival["seconds"] * windows, rival["cpu_seconds"] * windows
    ours = clock.a_study
    say("nnU-Net-sized network under PyTorch", seconds(wall, cpu))
    say("", f"  {windows} windows of {rival['gflop']:.0f} GFLOP, one of them timed")
    say("", f"  {rival['parameters'] / 1e6:.0f} M parameters, peak {rival['peak_mib']:.0f} MiB")
    say("", f"  {wall / ours[0]:.0f} times our wall time, {cpu / ours[1]:.0f} times our CPU time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, nargs="?", help="a folder with four scans")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a model folder")
    own = sys.executable if find_spec("torch") else None
    parser.add_argument("--torch", metavar="PYTHON", default=own, help="a Python that has torch")
    arguments = parser.parse_args()
    give_arrays_back()  # as the app does
    with TemporaryDirectory() as scratch:
        study = arguments.study or write_demo_study(Path(scratch))
        mask = Path(scratch, "mask.nii.gz")
        say("cores", f"{os.cpu_count():7}")
        cold("cold: process start to ready network", "-c", LOAD)
        command = ["-m", "model.predict", str(study), str(mask), "--model", str(arguments.model)]
        cold("cold: four files to verified mask", *command)
        network = load_network(arguments.model)
        say("runtime", f"  {network.runtime}")
        clock = bench_pipeline(study, network, mask)
    bench_floor(arguments.model, network, clock)
    bench_rival(arguments.torch, clock)


if __name__ == "__main__":
    main()
