"""A model folder: what the network is, its weights, and the hash that ties them together.

The architecture is code, the file holds numbers only, and it is not opened before its SHA-256
agrees with the committed one: a weights file is a program to whoever deserialises it.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.config import TrainConfig, UNetConfig
from utils.errors import ModelError
from utils.preprocess import SPEC

if TYPE_CHECKING:
    import keras

CONFIG, WEIGHTS, METRICS = "config.json", "unet.weights.h5", "metrics.json"


@dataclass(frozen=True)
class ModelInfo:
    """What is known about a network without loading it.

    Attributes
    ----------
    name : str
        Name of its folder.
    weights : Path
        The verified weights.
    sha256 : str
        Their hash.
    unet, training : UNetConfig, TrainConfig
        How it is built and how it was trained.
    cases : mapping of str to list of str
        Names of the training, validation and test cases.
    temperatures : tuple of float
        What each region's logits are divided by, see `model.calibration`.
    """

    name: str
    weights: Path
    sha256: str
    unet: UNetConfig
    training: TrainConfig
    cases: Mapping[str, list[str]]
    temperatures: tuple[float, ...]


def save_bundle(
    model: "keras.Model",
    folder: Path,
    unet: UNetConfig,
    training: TrainConfig,
    cases: Mapping[str, list[str]],
    temperatures: Sequence[float] = (1.0, 1.0, 1.0),
) -> None:
    """Write a model that `read_bundle` accepts on another machine."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_weights(folder / WEIGHTS)
    config = {
        "unet": asdict(unet),
        "training": asdict(training),
        "preprocess": asdict(SPEC),
        "cases": dict(cases),
        "temperatures": list(temperatures),
        "weights_sha256": _sha256(folder / WEIGHTS),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def set_temperatures(folder: Path, temperatures: Sequence[float]) -> None:
    """Change what a model folder's logits are divided by; `model.calibrate` settles it."""
    config = json.loads((folder / CONFIG).read_text())
    config["temperatures"] = list(temperatures)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def read_bundle(folder: Path) -> ModelInfo:
    """Read and verify a model folder; the weights are hashed, not opened.

    Raises
    ------
    ModelError
        If a file is missing, the hash differs, or the model was trained on scans prepared in
        another way than this code prepares them.
    """
    try:
        config = json.loads((folder / CONFIG).read_text())
        digest = _sha256(folder / WEIGHTS)
        unet = UNetConfig.from_dict(config["unet"])
        training = TrainConfig.from_dict(config["training"])
        expected, preprocess, cases, temperatures = (
            config[k] for k in ("weights_sha256", "preprocess", "cases", "temperatures")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(folder, f"is incomplete or damaged: {error}") from error
    if digest != expected:
        raise _broken(folder, f"holds other weights than {CONFIG} names")
    if preprocess != asdict(SPEC):
        raise _broken(folder, "was trained on scans that were prepared differently")
    return ModelInfo(
        *(folder.name, folder / WEIGHTS, digest, unet, training, cases),
        tuple(temperatures),
    )


def folds_of(folder: Path) -> list[Path]:
    """The folds of a model folder: the same recipe, each trained without some of the patients."""
    return sorted(folder.glob("fold*"))


def read_members(folder: Path) -> list[ModelInfo]:
    """Read and verify all networks of a model folder: its own, and those of its folds.

    Raises
    ------
    ModelError
        As `read_bundle`.
    """
    return [read_bundle(member) for member in (folder, *folds_of(folder))]


def joint_sha256(members: Sequence[ModelInfo]) -> str:
    """One hash for all weights of a model folder.

    Of a single network its own; of several the SHA-256 of their hashes, as hexadecimal text, a line
    each.
    """
    if len(members) == 1:
        return members[0].sha256
    return hashlib.sha256("".join(f"{m.sha256}\n" for m in members).encode()).hexdigest()


def papers(members: Sequence[ModelInfo]) -> dict[str, Any]:
    """What ``metrics.json`` says of the networks it was measured on: all that masks depend on."""
    return {
        "weights_sha256": joint_sha256(members),
        "temperatures": [list(member.temperatures) for member in members],
    }


def require_measured(folder: Path, members: Sequence[ModelInfo]) -> None:
    """Refuse a model folder whose figures, if it has any, are of other networks.

    Raises
    ------
    ModelError
        If so: its masks would not be as good as the reader is told.
    """
    if not (folder / METRICS).exists():
        return
    measured = read_metrics(folder)
    if any(measured.get(key) != value for key, value in papers(members).items()):
        raise _broken(folder, f"holds other weights or temperatures than {METRICS} was measured on")


def read_metrics(folder: Path) -> dict[str, Any]:
    """What ``metrics.json`` of a model folder holds.

    Raises
    ------
    ModelError
        If there is none: its masks cannot be shown with their expected error.
    """
    try:
        return dict(json.loads((folder / METRICS).read_text()))
    except (OSError, ValueError) as error:
        raise _broken(folder, f"lacks its figures ({METRICS}): {error}") from error


def load_model(info: ModelInfo) -> "keras.Model":
    """Build the network, fill in its weights and calibrate its probabilities."""
    # Keras: seconds, and not needed to read a model's papers
    from model.unet import LOGITS, build_unet

    model = build_unet(info.unet)
    fill_weights(model, info.weights)
    last = model.get_layer(LOGITS)
    kernel, bias = last.get_weights()  # (2, 2, 2, regions, width), (regions,)
    scale = np.array(info.temperatures, np.float32)
    last.set_weights([kernel / scale[:, None], bias / scale])
    return model


def fill_weights(model: "keras.Model", file: Path) -> None:
    """Load weights, all of them: Keras itself only warns of a layer that it leaves untrained."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.load_weights(file)


def _broken(folder: Path, reason: str) -> ModelError:
    return ModelError(
        f"The model {folder.name} {reason}. Restore the folder from the repository; "
        "nothing is segmented without it."
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
