"""Study in, segmentation out: the one inference path of app, command line and evaluation.

``python -m model.predict STUDY_DIR OUT.nii.gz`` segments the four scans of a folder;
``python -m model.predict --check STUDY_DIR`` only says whether it could.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import load_model, read_bundle
from utils.errors import ModelError, UserError
from utils.intake import check, read_study_folder
from utils.labels import Region
from utils.measure import region_volumes_ml
from utils.nifti import write_labels
from utils.notice import Notice
from utils.postprocess import SPECK_ML, labels_from
from utils.preprocess import SPEC, preprocess
from utils.segmentation import CERTAIN, Provenance, Segmentation
from utils.study import Study

DEFAULT_MODEL = Path(__file__).parent / "weights" / "brats-unet"
HEAD_SHAPES = ((144, 176, 144), (160, 192, 160))
"""Shapes that almost every brain fits: a compiled network is slow on one it has not met."""
EXIT_REFUSED = 65  # EX_DATAERR of sysexits.h

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Network:
    """A loaded network and what to write into the provenance about it.

    Attributes
    ----------
    run : callable
        (i, j, k, 4) float32 input to (i, j, k, 3) float32 region probabilities.
    stride : int
        Input sizes must be multiples of it.
    model_id, weights_sha256, runtime : str
        See `utils.segmentation.Provenance`.
    """

    run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    stride: int
    model_id: str
    weights_sha256: str
    runtime: str


def segment(
    study: Study,
    network: Network,
    notices: Sequence[Notice] = (),
    progress: Progress = lambda _: None,
) -> Segmentation:
    """Segment one study on its own grid.

    Parameters
    ----------
    study : Study
        Four aligned, skull-stripped scans.
    network : Network
        From `load_network`, or any function in its place.
    notices : sequence of Notice
        What the intake found; kept in the provenance.
    progress : callable
        Told the finished share, 0 to 1, after each step.

    Raises
    ------
    ModelError
        If the network does not return finite probabilities of the right shape: then there is no
        result.
    """
    started = time.perf_counter()
    tensor, placement = preprocess(study, network.stride)
    progress(0.2)
    probabilities = _mirrored_mean(_padded(tensor), network, progress)
    restored = placement.restore(probabilities)
    progress(0.9)
    labels = labels_from(restored, study.grid)
    provenance = Provenance(
        network.model_id,
        network.weights_sha256,
        network.runtime,
        round(time.perf_counter() - started, 2),
        _steps(study),
        tuple(n.text for n in notices),
    )
    return Segmentation(labels, restored, study.grid, provenance)


def load_network(folder: Path = DEFAULT_MODEL) -> Network:
    """Verify and load a model folder; the first call takes seconds, for it imports the backend.

    Raises
    ------
    ModelError
        If the folder is damaged or the network cannot run on this machine.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    info = read_bundle(folder)
    model = load_model(info)

    def run(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(model.predict_on_batch(tensor[None])[0])

    return Network(run, info.unet.stride, info.name, info.sha256, _runtime())


def _mirrored_mean(
    tensor: NDArray[np.float32], network: Network, progress: Progress
) -> NDArray[np.uint8]:
    """Mean over the head and its left-right mirror image, as bytes."""
    total = _probabilities(tensor, network)
    progress(0.5)
    total = total + _probabilities(tensor[::-1], network)[::-1]
    progress(0.8)
    scaled: NDArray[np.uint8] = np.rint(total * (CERTAIN / 2)).astype(np.uint8)
    return scaled


def _probabilities(tensor: NDArray[np.float32], network: Network) -> NDArray[np.float32]:
    """One run of the network, checked: what it returns is never trusted blindly."""
    try:
        out = network.run(np.ascontiguousarray(tensor))
    except Exception as error:  # whatever a backend throws, the reader gets one sentence
        raise ModelError(
            f"The network could not run on this machine ({type(error).__name__}); nothing was "
            "segmented. Close other programs to free memory and try again."
        ) from error
    if out.shape != (*tensor.shape[:3], len(Region)) or not np.isfinite(out).all():
        raise ModelError(
            "The network returned something that is not a segmentation; nothing is shown. "
            "Reinstall the packages and restore the model folder from the repository."
        )
    return np.clip(out, 0, 1)


def _padded(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pad to the smallest usual head shape that holds the tensor, if one does."""
    for shape in HEAD_SHAPES:
        if all(n <= s for n, s in zip(tensor.shape[:3], shape, strict=True)):
            padding = [(0, s - n) for n, s in zip(tensor.shape[:3], shape, strict=True)]
            return np.pad(tensor, [*padding, (0, 0)])
    return tensor


def _steps(study: Study) -> tuple[str, ...]:
    steps = [f"reoriented from {study.grid.orientation} to {SPEC.orientation} and back"]
    if not np.allclose(study.grid.spacing_mm, SPEC.spacing_mm, rtol=0.01):
        steps.append(f"resampled to {SPEC.spacing_mm:g} mm and back, linearly")
    low, high = SPEC.lower_percentile, SPEC.upper_percentile
    return (
        *steps,
        f"each scan MinMax-scaled over the brain between its {low:g} and {high:g} percentiles",
        "probabilities averaged over the head and its left-right mirror image",
        f"isolated findings below {SPECK_ML:g} mL removed",
    )


def _runtime() -> str:
    import keras

    devices = keras.distribution.list_devices()
    accelerated = any(not d.startswith("cpu") for d in devices)
    return f"{keras.backend.backend()} on {'GPU' if accelerated else 'CPU'}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m model.predict", description=__doc__)
    parser.add_argument("study", type=Path, metavar="STUDY_DIR")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.nii.gz")
    parser.add_argument("--check", action="store_true", help="only check the scans")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a model folder")
    arguments = parser.parse_args()
    if not arguments.check and arguments.out is None:
        parser.error("name the mask to write, or use --check")
    if arguments.check:
        return _check(arguments.study)
    try:
        _predict(arguments.study, arguments.out, arguments.model)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    return 0


def _check(folder: Path) -> int:
    """Print what a person needs to know and, last, one line for programs."""
    verdict = check(folder)
    for line in (*verdict["errors"], *verdict["notices"]):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(json.dumps(verdict) + "\n")
    return EXIT_REFUSED if verdict["verdict"] == "refuse" else 0


def _predict(folder: Path, out: Path, model: Path) -> None:
    intake = read_study_folder(folder)
    for notice in intake.notices:
        sys.stdout.write(f"Note: {notice.text}\n")
    segmentation = segment(intake.study, load_network(model), intake.notices)
    mask = write_labels(segmentation.labels, segmentation.grid)
    try:
        out.write_bytes(mask)
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror}). Name another file."
        ) from error
    for region, volume_ml in region_volumes_ml(segmentation.labels, segmentation.grid).items():
        sys.stdout.write(f"{region.title:18} {volume_ml:8.2f} mL\n")
    sys.stdout.write("For research only; not a medical device.\n")


if __name__ == "__main__":
    sys.exit(main())
