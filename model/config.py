"""Every number that shapes or trains the network, saved beside the weights it produced."""

from dataclasses import dataclass, fields
from typing import Any, Self


class _Strict:
    """Building a frozen dataclass from JSON: unknown keys are refused."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        unknown = values.keys() - {f.name for f in fields(cls)}  # type: ignore[arg-type]
        if unknown:
            raise ValueError(f"unknown {cls.__name__} fields: {sorted(unknown)}")
        # JSON knows no tuples
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True, kw_only=True)
class UNetConfig(_Strict):
    """Architecture. Changing a field makes old weights unloadable."""

    width: int = 32  # filters at half resolution; doubled at each level below
    depth: int = 2  # number of 2x poolings below half resolution
    max_width: int = 192

    @property
    def stride(self) -> int:
        """Each axis of the input must be a multiple of this."""
        return int(2 ** (self.depth + 1))


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Strict):
    """Training recipe. Changing a field is a new experiment."""

    seed: int = 0
    folds: int = 5  # patients are dealt into this many parts
    # the part that training never sees; the figures come from it. -1: every patient trains
    fold: int = 0
    validation_patients: int = 3  # of the rest: never trained on; their doubt calibrates it
    started_from: str = ""  # SHA-256 of the weights training began with; empty: random ones
    # a step shows a batch of patches, or one crop of a head
    patch_share: float = 1.0  # share of steps that show patches
    patch: tuple[int, int, int] = (56, 56, 40)  # voxels of 1 mm
    batch: int = 16  # patches a step
    cube_share: float = 0.5  # share of patches that are lesion cubes alone
    crop: tuple[int, int, int] = (112, 128, 112)
    head: tuple[int, int, int] = (144, 176, 144)  # crop of the last epochs: nearly whole heads
    # the most that is segmented at once: each of the 28 heads fits; of larger ones windows overlap
    window: tuple[int, int, int] = (152, 184, 152)
    head_epochs: int = 0
    pasted_share: float = 0.0  # share of heads with lesions of other patients pasted in
    # share of all but the cubes that is as blurred as those, so that blur does not tell them apart
    coarsened_share: float = 0.4
    settled: bool = False  # batch normalisation keeps the statistics it started with
    steps_per_epoch: int = 250
    epochs: int = 10
    learning_rate: float = 2e-3  # peak; warms up over the first epoch, then falls as a cosine
    weight_decay: float = 1e-2
    ema_momentum: float = 0.995  # the averaged weights are the ones evaluated and shipped


RECIPES = {
    "patches": TrainConfig(),
    # how it goes on: it learns what surrounds a lesion, and what is none
    "heads": TrainConfig(
        settled=True,
        patch_share=0.4,
        cube_share=0.8,
        coarsened_share=0.25,
        pasted_share=0.5,
        head_epochs=1,
        learning_rate=1e-3,
    ),
}
"""The two stages of a training."""
