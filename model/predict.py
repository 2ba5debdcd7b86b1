"""Study in, segmentation out: the one inference path of app, command line and evaluation.

``python -m model.predict STUDY_DIR OUT.nii.gz`` segments the four scans of a folder into a new
file, and says in ``OUT.json`` how; scans in doubt need ``--go-on``;
``python -m model.predict --check STUDY_DIR`` only says whether it could.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.bundle import ModelInfo, joint_sha256, load_model, read_members, require_measured
from model.config import UNetConfig
from model.runtime import Run, choose_backend, runner
from utils.errors import ModelError, UserError
from utils.intake import check, read_study_folder
from utils.labels import Region
from utils.measure import region_volumes_ml
from utils.nifti import write_labels
from utils.notice import Notice
from utils.postprocess import labels_and_specks, steps_taken
from utils.preprocess import preprocess, standardise
from utils.segmentation import CERTAIN, Provenance, Segmentation
from utils.study import Study

if TYPE_CHECKING:
    import keras

DEFAULT_MODEL = Path(__file__).parent / "weights" / "brats-unet"
EXIT_REFUSED = 65  # EX_DATAERR of sysexits.h
HOW_TO_GO_ON = "Nothing was segmented. Look at these scans; --go-on segments them all the same."

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Network:
    """Loaded networks that answer together, and what to write into the provenance about them.

    Attributes
    ----------
    run : callable
        (i, j, k, 4) float32 input to (i, j, k, 3) float32 region probabilities; each axis a
        multiple of `stride`.
    window : (i, j, k)
        The largest shape that is looked at in one go; most heads fit.
    model_id, weights_sha256, runtime : str
        See `utils.segmentation.Provenance`.
    standardised : bool
        Whether they are given z-scores over the brain instead of MinMax-scaled scans.
    mirrored : callable, optional
        What is asked about the head's mirror image, if not `run`.
    networks : int
        How many have a part in the answer.
    stride : int
        See `run`.
    """

    run: Run
    window: tuple[int, int, int]
    model_id: str
    weights_sha256: str
    runtime: str
    standardised: bool = False
    mirrored: Run | None = None
    networks: int = 1
    stride: int = 1

    @property
    def steps(self) -> tuple[str, str]:
        """What is done to the scans and with the answers, for the provenance."""
        looked = "the head and its mirror image"
        if self.networks > 1:
            looked = f"{self.networks} networks, half of them shown the head's mirror image"
        return (
            "each scan standardised over the brain",
            f"probabilities are the mean over {looked}",
        )


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
    probabilities = region_probabilities(tensor, network, progress)
    restored = placement.restore(probabilities)
    progress(0.9)
    labels, specks_ml = labels_and_specks(restored, study.grid)
    provenance = Provenance(
        network.model_id,
        network.weights_sha256,
        network.runtime,
        round(time.perf_counter() - started, 2),
        (*placement.steps, *network.steps, *steps_taken(specks_ml)),
        tuple(n.text for n in notices),
        f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    )
    return Segmentation(labels, restored, study.grid, provenance)


def region_probabilities(
    tensor: NDArray[np.float32], network: Network, progress: Progress = lambda _: None
) -> NDArray[np.uint8]:
    """Run the networks on a whole head and on its mirror image, left to right.

    Parameters
    ----------
    tensor : (i, j, k, 4) float32 array
        From `utils.preprocess.preprocess`, each axis a multiple of the network's stride. A network
        that takes z-scores overwrites it with them.

    Returns
    -------
    (i, j, k, 3) uint8 array
        Probability of each region, times ``CERTAIN``.
    """
    if network.standardised:
        standardise(tensor)
    run, mirrored, window = network.run, network.mirrored or network.run, network.window
    found = _window_mean(tensor, run, window, lambda s: progress(0.2 + 0.3 * s))
    other = _window_mean(tensor[::-1], mirrored, window, lambda s: progress(0.5 + 0.3 * s))
    mean = found + other[::-1]
    mean *= CERTAIN / 2  # in place: each array of this size is 50 MB, and a page fault every 4 KB
    np.rint(mean, out=mean).clip(0, CERTAIN, out=mean)
    progress(0.8)
    return mean.astype(np.uint8)


def _window_mean(
    tensor: NDArray[np.float32], run: Run, window: tuple[int, int, int], progress: Progress
) -> NDArray[np.float32]:
    """Mean over overlapping windows of each region's probability; most heads fit into one."""
    shape = tensor.shape[:3]
    i, j, k = map(min, shape, window)
    if shape == (i, j, k):
        found = _probabilities(tensor, run)
        progress(1)
        return found
    total = np.zeros((*shape, len(Region)), np.float32)
    count = np.zeros((*shape, 1), np.float32)
    windows = list(product(*map(_starts, shape, (i, j, k))))
    for number, corner in enumerate(windows, 1):
        box = tuple(slice(c, c + n) for c, n in zip(corner, (i, j, k), strict=True))
        total[box] += _probabilities(tensor[box], run)
        count[box] += 1
        progress(number / len(windows))
    total /= count
    return total


def load_network(folder: Path = DEFAULT_MODEL) -> Network:
    """Verify and load a model folder; the first call takes seconds, for it imports the backend.

    Its own network and its folds' answer together.

    Raises
    ------
    ModelError
        If the folder is damaged or the network cannot run on this machine.
    """
    members = read_members(folder)
    require_measured(folder, members)
    return load_together(members)


def load_together(members: Sequence[ModelInfo]) -> Network:
    """Load networks whose mean counts; the first gives the name.

    Raises
    ------
    ModelError
        If they cannot run on this machine.
    """
    try:
        choose_backend()
        models = [load_model(member) for member in members]
        info = members[0]
        window, name = info.training.window, info.name
        return as_network(models, info.unet, window, name, joint_sha256(members))
    except Exception as error:  # whatever a backend throws, the reader gets one sentence
        raise ModelError(
            f"The network could not be loaded on this machine ({type(error).__name__}); nothing "
            "can be segmented. Reinstall the packages of requirements.txt and start again."
        ) from error


def as_network(
    models: Sequence["keras.Model"],
    unet: UNetConfig,
    window: tuple[int, int, int],
    model_id: str = "",
    weights_sha256: str = "",
) -> Network:
    """Wrap Keras models, trained or still in training, as what `segment` runs.

    Every second one is asked about the mirror image, a single one about both.
    """
    # Keras, like the models themselves: seconds to import
    from model.device import backend_and_device
    from model.unet import mean_of

    return Network(
        runner(mean_of(models[::2])),
        window,
        model_id,
        weights_sha256,
        backend_and_device(),
        standardised=True,
        mirrored=runner(mean_of(models[1::2])) if len(models) > 1 else None,
        networks=len(models),
        stride=unet.stride,
    )


def _starts(size: int, window: int) -> list[int]:
    """Where windows begin along an axis: as few as cover it, evenly spread, the last at its end."""
    number = -(-size // window)
    return [round(n * (size - window) / max(1, number - 1)) for n in range(number)]


def _probabilities(tensor: NDArray[np.float32], run: Run) -> NDArray[np.float32]:
    """One run of a network, checked: what it returns is never trusted blindly."""
    try:
        out = run(np.ascontiguousarray(tensor))
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
    return out


def main() -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every console knows the signs in a sentence
    parser = argparse.ArgumentParser(prog="python -m model.predict", description=__doc__)
    parser.add_argument("study", type=Path, metavar="STUDY_DIR")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.nii.gz")
    parser.add_argument("--check", action="store_true", help="only check the scans")
    parser.add_argument(
        "--go-on", action="store_true", help="segment scans in doubt; the record says so"
    )
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a model folder")
    arguments = parser.parse_args()
    if not arguments.check and arguments.out is None:
        parser.error("name the mask to write, or use --check")
    if arguments.check:
        return _check(arguments.study)
    try:
        _predict(arguments.study, arguments.out, arguments.model, go_on=arguments.go_on)
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


def _predict(folder: Path, out: Path, model: Path, *, go_on: bool) -> None:
    if not out.name.endswith(".nii.gz"):
        raise UserError(f"{out} does not end in .nii.gz. Name a mask file that does.")
    sidecar = out.with_name(out.name.removesuffix(".nii.gz") + ".json")
    for file in (out, sidecar):
        _require_new(file)
    intake = read_study_folder(folder)
    if go_on:
        intake = intake.accepted()
    elif intake.doubts:
        raise UserError("\n".join([*(doubt.text for doubt in intake.doubts), HOW_TO_GO_ON]))
    for notice in intake.notices:
        sys.stdout.write(f"Note: {notice.text}\n")
    segmentation = segment(intake.study, load_network(model), intake.notices)
    mask = write_labels(segmentation.labels, segmentation.grid)
    from utils.sidecar import Result, sidecar_json  # pictures' packages, which --check spares

    record = sidecar_json(Result(intake.study, segmentation, intake.sha256, mask))
    _write_new(out, mask)
    _write_new(sidecar, record)
    for region, volume_ml in region_volumes_ml(segmentation.labels, segmentation.grid).items():
        sys.stdout.write(f"{region.title:18} {volume_ml:8.2f} mL\n")
    sys.stdout.write("For research only; not a medical device.\n")


def _require_new(file: Path) -> None:
    """Refuse a name that is taken, if only by a link that leads nowhere: it may be a scan's."""
    try:
        file.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(file, error) from error
    raise UserError(f"{file} exists and may belong to the scans. Name a new mask file.")


def _write_new(file: Path, content: bytes) -> None:
    try:
        with file.open("xb") as new:  # never over a file that came while the network ran
            new.write(content)
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> UserError:
    return UserError(f"{file} cannot be written ({error.strerror}). Name another file.")


if __name__ == "__main__":
    sys.exit(main())
