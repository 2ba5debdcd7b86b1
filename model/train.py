"""Train the network: ``python -m model.train DATA OUT``. Interrupt it and run it again: it resumes.

DATA holds BraTS cases (see `model.dataset`); OUT becomes a model folder, with the log, the
learning curve and the checkpoint of the running training beside the weights. The backend is
whatever ``KERAS_BACKEND`` names; 3-D training on a CPU is several times faster under torch.
"""

import argparse
import csv
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.augment import Cut, Style, cut, samples
from model.bundle import fill_weights, read_bundle, save_bundle
from model.calibration import temperatures
from model.config import RECIPES, TrainConfig, UNetConfig
from model.dataset import (
    Packed,
    Split,
    find_cases,
    pack,
    read_cubes,
    split,
    unpacked,
    unseen,
)
from model.device import precision, replayed
from model.losses import dice_cross_entropy
from model.predict import EXIT_REFUSED, as_network, region_probabilities
from model.transplant import pasted
from model.unet import build_unet
from utils.errors import UserError
from utils.labels import Region, regions_of
from utils.metrics import dice
from utils.postprocess import THRESHOLD
from utils.segmentation import CERTAIN

LOG = logging.getLogger(__name__)
HISTORY, CURVE = "history.csv", "learning_curve.png"
CHECKPOINT, PAPERS = "checkpoint.weights.h5", "run.json"
FREE_TO_CHANGE = {"epochs", "head_epochs", "window"}

Row = dict[str, float]


def train(
    data: Path, out: Path, unet: UNetConfig, config: TrainConfig, *, start: Path | None = None
) -> None:
    """Train one network and save it as a model folder.

    Parameters
    ----------
    data, out : Path
        The cases, and the folder to write.
    unet, config : UNetConfig, TrainConfig
        What to train, and how.
    start : Path, optional
        A model folder to go on from.
    """
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config.seed)
    parts = split(find_cases(data), config)
    if not (parts.train and parts.validation):
        raise UserError(f"{data} holds too few patients to train, validate and test on. Add more.")
    validation = [pack(case, data / ".packed") for case in parts.validation]

    keras.mixed_precision.set_global_policy(precision())
    model = build_unet(unet)
    if config.settled:
        if start is None:
            raise UserError("A settled training needs the statistics of another. Name its folder.")
        model = Settled(model.input, model.output)
    if start is not None:
        config = _started(model, start, unet, config, parts)
    source = Samples(data, parts, config)
    # under torch no faster compiled (EXPERIMENTS.md, 14), under JAX a hundred times slower if not
    jit = keras.backend.backend() == "jax"
    model.compile(_optimizer(config), dice_cross_entropy, jit_compile=jit)
    model.make_train_function()
    model.train_function = replayed(model.train_function)
    averaged = keras.callbacks.SwapEMAWeights()
    averaged.set_model(model)

    rows = _resumed(model, out, _run_papers(unet, config, parts))
    while len(rows) < config.epochs:
        started = time.monotonic()
        loss = _run_epoch(model, source, len(rows))
        raw_weights = _saved(model, out / f"next_{CHECKPOINT}")
        averaged.on_test_begin()  # the averaged weights are the ones evaluated and shipped
        rows.append(_row(len(rows), loss, _patient_dice(model, validation, unet, config), started))
        averaged.on_test_end()
        _write_history(out / HISTORY, rows)
        raw_weights.replace(out / CHECKPOINT)
        _log_epoch(rows, config.epochs)

    averaged.on_test_begin()
    keras.mixed_precision.set_global_policy("float32")
    shipped = build_unet(unet)  # without the state of the optimizer
    shipped.set_weights(model.get_weights())
    if config.fold >= 0:
        doubt = _temperatures(shipped, validation, unet, config)
    else:  # nothing can be learnt about its doubt from patients it was trained on
        doubt = read_bundle(start).temperatures if start else (1.0, 1.0, 1.0)
    save_bundle(shipped, out, unet, config, _names(parts), doubt)
    plot_learning_curve(out)


class Settled(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A network whose batch normalisation keeps its statistics in training too.

    Batches of patches and single heads may then follow each other. Scale and shift are learnt.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return super().call(inputs, training=False, mask=mask)


class Samples:
    """Random samples; the same ones for the same seed, start, epoch and step."""

    def __init__(self, data: Path, parts: Split, config: TrainConfig) -> None:
        self.config = config
        # only left and right mirrored looks like a head; patches bear the other axes too
        self.cube_style = Style(mirrored_axes=3)
        self.patch_style = replace(self.cube_style, coarsened_share=config.coarsened_share)
        self.crop_style = replace(self.patch_style, mirrored_axes=1)
        self.cases = [pack(case, data / ".packed") for case in parts.train]
        wanted = config.pasted_share or config.cube_share
        self.cubes = read_cubes(data, excluded=unseen(data, parts, config)) if wanted else None
        self.lesions = [*self.cubes.each()] if self.cubes is not None else []
        LOG.info(
            "%d cases and %d cubes to train on, %d cases to validate, %d never seen",
            len(self.cases),
            len(self.lesions),
            len(parts.validation),
            len(parts.test),
        )

    def cuts(self, epoch: int, step: int) -> list[Cut]:
        """What one step shows."""
        # a training that goes on with the same recipe must not show the same samples again
        start = int(self.config.started_from or "0", 16)
        rng = np.random.default_rng((self.config.seed, start, epoch, step))
        if rng.random() < self.config.patch_share:
            return [self._patch(rng) for _ in range(self.config.batch)]
        return [self._crop(epoch, rng)]

    def _crop(self, epoch: int, rng: np.random.Generator) -> Cut:
        whole = epoch >= self.config.epochs - self.config.head_epochs
        shape = self.config.head if whole else self.config.crop
        return cut(self._head(rng), shape, rng, self.crop_style)

    def _patch(self, rng: np.random.Generator) -> Cut:
        if self.lesions and rng.random() < self.config.cube_share:
            cube = self.lesions[rng.integers(len(self.lesions))]
            return cut(cube, self.config.patch, rng, self.cube_style)
        return cut(self._head(rng), self.config.patch, rng, self.patch_style)

    def _head(self, rng: np.random.Generator) -> Packed:
        case = self.cases[rng.integers(len(self.cases))]
        if self.cubes is not None and rng.random() < self.config.pasted_share:
            case = pasted(case, self.cubes, rng)
        return case


def plot_learning_curve(out: Path) -> None:
    """Draw the loss and the validation Dice of every epoch."""
    rows = _read_history(out / HISTORY)
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in rows])
    left.set(xlabel="epoch", ylabel="training loss")
    for region in Region:
        right.plot(epochs, [row[region.name] for row in rows], label=region.name)
    right.set(xlabel="epoch", ylabel="Dice of the validation patients", ylim=(0, 1))
    right.legend()
    figure.savefig(out / CURVE, dpi=120)


def _started(
    model: keras.Model, start: Path, unet: UNetConfig, config: TrainConfig, parts: Split
) -> TrainConfig:
    """Fill in the weights of another training that saw nobody whom this one is tested on."""
    info = read_bundle(start)
    seen = {*info.cases["train"], *info.cases["validation"]}
    tested = {case.name for case in parts.test}
    if leaked := sorted(seen & tested):
        raise UserError(
            f"{start} was trained on {', '.join(leaked)}, which this training must not see. "
            "Start from a model of the same fold."
        )
    if info.unet != unet:
        raise UserError(f"{start} is {info.unet}, this training is {unet}. They must be equal.")
    fill_weights(model, info.weights)
    return replace(config, started_from=info.sha256)


def _optimizer(config: TrainConfig) -> keras.Optimizer:
    return keras.optimizers.AdamW(
        weight_decay=config.weight_decay,
        clipnorm=1.0,
        use_ema=True,
        ema_momentum=config.ema_momentum,
    )


def _learning_rate(config: TrainConfig, step: int) -> float:
    """Warms up over the first epoch, then falls as a cosine.

    A number that is set and no schedule of the optimizer's: a training that goes on for longer
    than planned need not be compiled again.
    """
    warm_up = config.steps_per_epoch
    done = (step - warm_up) / (warm_up * max(1, config.epochs - 1))
    if done < 0:
        return config.learning_rate * (0.01 + 0.99 * step / warm_up)
    return config.learning_rate * (0.005 + 0.995 * (1 + math.cos(math.pi * min(done, 1))) / 2)


def _run_epoch(model: keras.Model, source: Samples, epoch: int) -> float:
    """Train for one epoch behind a progress bar with the time left; returns the mean loss."""
    steps = source.config.steps_per_epoch
    bar = keras.utils.Progbar(steps)
    losses = []
    with ThreadPoolExecutor(1) as ahead:  # the next boxes are cut while the network learns
        coming = ahead.submit(source.cuts, epoch, 0)
        for step in range(steps):
            cuts, coming = coming.result(), ahead.submit(source.cuts, epoch, step + 1)
            model.optimizer.learning_rate = _learning_rate(source.config, epoch * steps + step)
            losses.append(float(model.train_on_batch(*samples(cuts))))
            bar.update(step + 1, [("loss", losses[-1])])
    return float(np.mean(losses))


def _patient_dice(
    model: keras.Model, cases: Sequence[Packed], unet: UNetConfig, config: TrainConfig
) -> NDArray[np.float64]:
    """(3,) mean Dice of whole patients, by the windows that the app uses."""
    found = [
        [
            dice(stored[..., r] >= THRESHOLD * CERTAIN, region.mask(np.asarray(case.labels)))
            for r, region in enumerate(Region)
        ]
        for case, stored in zip(cases, _predicted(model, cases, unet, config), strict=True)
    ]
    return np.asarray(np.mean(found, axis=0))


def _temperatures(
    model: keras.Model, cases: Sequence[Packed], unet: UNetConfig, config: TrainConfig
) -> tuple[float, ...]:
    truths = [regions_of(np.asarray(case.labels)) for case in cases]
    return temperatures(_predicted(model, cases, unet, config), truths)


def _predicted(
    model: keras.Model, cases: Sequence[Packed], unet: UNetConfig, config: TrainConfig
) -> list[NDArray[np.uint8]]:
    """(i, j, k, 3) stored probabilities of each case."""
    network = as_network([model], unet, config.window)
    found = []
    for case in cases:
        images, shape = unpacked(case.images), case.labels.shape
        padding = [(0, -n % unet.stride) for n in shape]
        stored = region_probabilities(np.pad(images, [*padding, (0, 0)]), network)
        found.append(stored[tuple(slice(n) for n in shape)])
    return found


def _row(epoch: int, loss: float, means: NDArray[np.float64], started: float) -> Row:
    regions = {region.name: float(d) for region, d in zip(Region, means, strict=True)}
    seconds = round(time.monotonic() - started)
    return {
        "epoch": epoch,
        "loss": loss,
        "dice": float(means.mean()),
        "seconds": seconds,
        **regions,
    }


def _saved(model: keras.Model, path: Path) -> Path:
    model.save_weights(path)
    return path


def _run_papers(unet: UNetConfig, config: TrainConfig, parts: Split) -> dict[str, Any]:
    """What a resumed training must share with the one it resumes; its length may change."""
    recipe = {k: v for k, v in asdict(config).items() if k not in FREE_TO_CHANGE}
    # as JSON gives it back
    papers = json.loads(json.dumps({"unet": asdict(unet), "training": recipe} | _names(parts)))
    return dict(papers)


def _resumed(model: keras.Model, out: Path, papers: dict[str, Any]) -> list[Row]:
    """Take up a checkpoint, if there is one; returns the epochs it has behind it."""
    if not (out / CHECKPOINT).exists():
        (out / PAPERS).write_text(json.dumps(papers, indent=1) + "\n")
        return []
    if json.loads((out / PAPERS).read_text()) != papers:
        raise UserError(
            f"{out} holds a training with another recipe or other patients; going on would mix "
            "them. Name another folder, or delete this one."
        )
    model.optimizer.build(model.trainable_variables)
    model.load_weights(out / CHECKPOINT)
    return _read_history(out / HISTORY)


def _log_epoch(rows: Sequence[Row], epochs: int) -> None:
    minutes = (epochs - len(rows)) * rows[-1]["seconds"] / 60
    LOG.info("epoch %(epoch)d  loss %(loss).3f  WT %(WT).3f  TC %(TC).3f  ET %(ET).3f", rows[-1])
    LOG.info("about %.0f min left", minutes)


def _names(parts: Split) -> dict[str, list[str]]:
    """Which patients the network saw, and for what: the model card says it."""
    return {
        "train": [c.name for c in parts.train],
        "validation": [c.name for c in parts.validation],
        "test": [c.name for c in parts.test],
    }


def _read_history(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _write_history(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[-1])
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of BraTS cases")
    parser.add_argument("out", type=Path, help="the model folder to write")
    settings: dict[str, Any] = {
        "nargs": "*",
        "type": _setting,
        "default": [],
        "metavar": "KEY=VALUE",
    }
    parser.add_argument("--recipe", choices=RECIPES, default="patches", help="which stage")
    parser.add_argument("--start", type=Path, help="a model folder to start from")
    parser.add_argument("--unet", help="fields of UNetConfig, e.g. width=16", **settings)
    parser.add_argument("--train", help="fields of TrainConfig, e.g. fold=1", **settings)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        unet = UNetConfig.from_dict(dict(arguments.unet))
        recipe = asdict(RECIPES[arguments.recipe])
        config = TrainConfig.from_dict(recipe | dict(arguments.train))
        train(arguments.data, arguments.out, unet, config, start=arguments.start)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    return 0


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, json.loads(value)


if __name__ == "__main__":
    sys.exit(main())
