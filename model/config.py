"""Every number that shapes or trains the network, saved beside the weights it produced."""

from dataclasses import dataclass, fields, replace
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

    width: int = 24  # filters at half resolution; doubled at each level below
    depth: int = 3  # number of 2x poolings below half resolution
    max_width: int = 192
    normalisation: str = "instance"  # or "batch", which sees the same in a patch as in a head
    standardised: bool = False  # reads z-scores over the brain instead of MinMax-scaled scans


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Strict):
    """Training recipe. Changing a field is a new experiment."""

    seed: int = 0
    folds: int = 5  # patients are dealt into this many parts
    # the part that training never sees; the figures come from it. -1: every patient trains
    fold: int = 0
    validation_patients: int = 3  # of the rest: never trained on; their doubt calibrates it
    started_from: str = ""  # SHA-256 of the weights training began with; empty: random ones
    # a step shows one crop of a head, or a batch of patches
    crop: tuple[int, int, int] = (96, 112, 96)  # voxels of 1 mm, cut from the brain's box
    head: tuple[int, int, int] = (144, 176, 144)  # crop of the last epochs: whole heads, as in use
    head_epochs: int = 6
    head_share: float = 0.0  # share of whole heads in the epochs before
    pasted_share: float = 0.6  # share of heads with lesions of other patients pasted in
    patch_share: float = 0.0  # share of steps that show patches
    patch: tuple[int, int, int] = (56, 56, 40)
    batch: int = 8  # patches a step
    cube_share: float = 0.0  # share of patches that are lesion cubes alone
    coarsened_share: float = 0.0  # share of all else that is blurred to the cubes' resolution
    settled: bool = False  # batch normalisation keeps the statistics it started with
    steps_per_epoch: int = 50
    epochs: int = 37
    learning_rate: float = 2e-3  # peak; warms up over the first epoch, then falls as a cosine
    weight_decay: float = 1e-4
    ema_momentum: float = 0.995  # the averaged weights are the ones evaluated and shipped
    compiled: bool = False  # a quarter faster under torch, after a minute and a C++ compiler's work


# patches: half of them lesion cubes, the others as blurred as those now and then, so that
# their blur does not tell them apart; batch normalisation, because a patch is no head
_LESION = TrainConfig(
    patch_share=1.0,
    cube_share=0.5,
    coarsened_share=0.4,
    pasted_share=0.0,
    head_epochs=0,
    steps_per_epoch=200,
    epochs=28,
    weight_decay=1e-2,
)
_LESION_UNET = UNetConfig(width=32, depth=2, normalisation="batch", standardised=True)

RECIPES = {
    "head": (UNetConfig(), TrainConfig()),
    "lesion": (_LESION_UNET, _LESION),
    # how the lesion network goes on: it learns what surrounds a lesion, and what is none
    "surroundings": (
        _LESION_UNET,
        replace(
            _LESION,
            settled=True,
            crop=(112, 128, 112),
            patch_share=0.4,
            cube_share=0.8,
            coarsened_share=0.25,
            pasted_share=0.5,
            head_epochs=2,
            epochs=20,
            learning_rate=1e-3,
        ),
    ),
}
"""What the networks of a model folder are, and how they are trained."""
