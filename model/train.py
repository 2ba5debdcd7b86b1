"""Train the network: ``python -m model.train DATA OUT``. Interrupt it and run it again: it resumes.

DATA holds BraTS cases (see `model.dataset`); OUT becomes a model folder, with the log, the
learning curve and the checkpoint of the running training beside the weights. The backend is
whatever ``KERAS_BACKEND`` names; 3-D training on a CPU is several times faster under torch.
"""

import argparse
import csv
import json
import logging
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from model.augment import crop_sample, cube_sample
from model.bundle import save_bundle
from model.config import TrainConfig, UNetConfig
from model.dataset import Cubes, Packed, Split, find_cases, pack, read_cubes, split, unpacked
from model.losses import dice_cross_entropy
from model.predict import as_network, window_mean
from model.unet import build_unet
from utils.labels import Region, regions_of
from utils.postprocess import THRESHOLD
from utils.segmentation import CERTAIN

LOG = logging.getLogger(__name__)
HISTORY, BEST, CURVE = "history.csv", "best.weights.h5", "learning_curve.png"


def train(data: Path, out: Path, unet: UNetConfig, config: TrainConfig) -> None:
    """Train one network and save it as a model folder."""
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config.seed)
    parts = split(find_cases(data), config)
    cache = data / ".packed"
    cases = [pack(c, cache) for c in parts.train]
    unseen = {c.patient for c in (*parts.validation, *parts.test)}
    cubes = read_cubes(data, excluded=unseen) if config.cube_share else None
    LOG.info(
        "%d cases and %d cubes to train on, %d cases to validate, %d never seen",
        len(cases),
        0 if cubes is None else len(cubes.images),
        len(parts.validation),
        len(parts.test),
    )

    if _has_gpu():
        keras.mixed_precision.set_global_policy("mixed_float16")
    model = build_unet(unet)
    model.compile(optimizer=_optimizer(config), loss=dice_cross_entropy)
    validation = PatientDice([pack(c, cache) for c in parts.validation], out, config)
    samples = Samples(cases, cubes, config)
    model.fit(
        samples,
        epochs=config.epochs,
        verbose="auto",
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: samples.start(epoch)),
            # first the checkpoint, of the raw weights; then the averaged ones, which all else sees
            keras.callbacks.BackupAndRestore(out / "checkpoint", delete_checkpoint=False),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            validation,
        ],
    )
    model.load_weights(out / BEST)
    save_bundle(model, out, unet, config, _names(parts))
    plot_learning_curve(out)


class Samples(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Endless random samples; the same ones for the same seed, epoch and step."""

    def __init__(self, cases: list[Packed], cubes: Cubes | None, config: TrainConfig) -> None:
        super().__init__(workers=2, max_queue_size=4)
        self.cases, self.cubes, self.config = cases, cubes, config
        self.epoch = 0

    def start(self, epoch: int) -> None:
        """Begin an epoch; a resumed training does not begin with the first."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.config.steps_per_epoch

    @property
    def whole_heads(self) -> bool:
        """Whether the last epochs have come, which train on what the network will be used on."""
        return self.epoch >= self.config.epochs - self.config.head_epochs

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        rng = np.random.default_rng((self.config.seed, self.epoch, index))
        if self.whole_heads:
            samples = [crop_sample(self._case(rng), self.config.head, rng)]
        elif self.cubes is not None and rng.random() < self.config.cube_share:
            heads = [self._case(rng) for _ in range(self.config.cube_batch)]
            samples = [cube_sample(self.cubes, head.z_limits, rng) for head in heads]
        else:
            samples = [crop_sample(self._case(rng), self.config.crop, rng)]
        images, regions = zip(*samples, strict=True)
        return np.stack(images), np.stack(regions)

    def _case(self, rng: np.random.Generator) -> Packed:
        return self.cases[rng.integers(len(self.cases))]


class PatientDice(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """After each epoch: Dice on whole patients, the log, the best weights, and when to stop."""

    def __init__(self, cases: list[Packed], out: Path, config: TrainConfig) -> None:
        super().__init__()
        self.cases, self.out, self.config = cases, out, config
        self.rows = _read_history(out / HISTORY)
        self.started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        dice = np.mean([self._dice(case) for case in self.cases], axis=0)
        self.rows = [row for row in self.rows if row["epoch"] < epoch]
        best = max((row["dice"] for row in self.rows), default=-1.0)
        row = {"epoch": epoch, "loss": (logs or {}).get("loss", float("nan"))}
        row |= {"dice": float(dice.mean()), "seconds": round(time.monotonic() - self.started)}
        row |= {region.name: float(d) for region, d in zip(Region, dice, strict=True)}
        self.rows.append(row)
        LOG.info("epoch %(epoch)d  loss %(loss).3f  WT %(WT).3f  TC %(TC).3f  ET %(ET).3f", row)
        _write_history(self.out / HISTORY, self.rows)
        if dice.mean() > best:
            self.model.save_weights(self.out / BEST)
        since = len(self.rows) - 1 - int(np.argmax([row["dice"] for row in self.rows]))
        self.model.stop_training = since >= self.config.patience

    def _dice(self, case: Packed) -> NDArray[np.float64]:
        images = unpacked(case.images)
        padding = [(0, max(0, h - n)) for h, n in zip(self.config.head, images.shape, strict=False)]
        probabilities = window_mean(
            np.pad(images, [*padding, (0, 0)]), as_network(self.model, self.config)
        )
        i, j, k = images.shape[:3]
        predicted = probabilities[:i, :j, :k] >= THRESHOLD * CERTAIN
        truth = regions_of(np.asarray(case.labels))
        total = predicted.sum((0, 1, 2)) + truth.sum((0, 1, 2))
        overlap = (predicted & truth).sum((0, 1, 2))
        return np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))


def plot_learning_curve(out: Path) -> None:
    """Draw the loss and the validation Dice of every epoch."""
    from matplotlib.figure import Figure

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


def _optimizer(config: TrainConfig) -> keras.Optimizer:
    steps = config.steps_per_epoch
    rate = keras.optimizers.schedules.CosineDecay(
        config.learning_rate / 100,
        decay_steps=steps * (config.epochs - 1),
        warmup_target=config.learning_rate,
        warmup_steps=steps,
        alpha=0.005,
    )
    return keras.optimizers.AdamW(
        rate,
        weight_decay=config.weight_decay,
        clipnorm=1.0,
        use_ema=True,
        ema_momentum=config.ema_momentum,
    )


def _has_gpu() -> bool:
    return any(not device.startswith("cpu") for device in keras.distribution.list_devices())


def _names(parts: Split) -> dict[str, list[str]]:
    """Which patients the network saw, and for what: the model card says it."""
    return {
        "train": [c.name for c in parts.train],
        "validation": [c.name for c in parts.validation],
        "test": [c.name for c in parts.test],
    }


def _read_history(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _write_history(path: Path, rows: list[dict[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[-1])
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of BraTS cases")
    parser.add_argument("out", type=Path, help="the model folder to write")
    parser.add_argument("--unet", type=json.loads, default={}, help='e.g. {"width": 16}')
    parser.add_argument("--train", type=json.loads, default={}, help='e.g. {"fold": 1}')
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(
        arguments.data,
        arguments.out,
        UNetConfig.from_dict(arguments.unet),
        TrainConfig.from_dict(arguments.train),
    )


if __name__ == "__main__":
    main()
