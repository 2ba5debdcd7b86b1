"""A mask from elsewhere: what its numbers may mean, and which meaning can be known from itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.errors import UnreadableVolumeError
from utils.grid import Grid
from utils.labels import Label, LabelCoding
from utils.measure import lesion_map
from utils.nifti import read_nifti
from utils.notice import Notice
from utils.upload import refuse

CODING_TITLES = {
    LabelCoding.BRATS_2020: "BraTS 2017 to 2021, and this app",
    LabelCoding.BRATS_2023: "BraTS 2023 and later",
    LabelCoding.MSD: "Medical Segmentation Decathlon",
}
SHOWN_NUMBERS = 5
MOST_PARTS = 2000
"""More than this is noise: of 361 BraTS 2020 patients none has more than 28 parts."""

NEXT_STEP = (
    "Choose a label map of glioma (BraTS or Decathlon numbers); if it was resampled, do it again "
    "with nearest neighbour"
)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Numbers as a file stores them, before it is known which coding they are in.

    Attributes
    ----------
    numbers : (I, J, K) uint8 array, read-only
        The file's own values.
    grid : Grid
        Where they lie.
    present : frozenset of int
        The numbers that occur, without 0.
    notices : tuple of Notice
        Repairs made on reading.

    Raises
    ------
    UnreadableVolumeError
        If no coding has all numbers that occur.
    """

    numbers: NDArray[np.uint8]
    grid: Grid
    present: frozenset[int]
    notices: tuple[Notice, ...] = ()

    def __post_init__(self) -> None:
        self.numbers.flags.writeable = False
        if not self.codings:
            raise UnreadableVolumeError(
                f"No known coding has the numbers {_listed(self.present)}. {NEXT_STEP}."
            )

    @property
    def codings(self) -> tuple[LabelCoding, ...]:
        """The codings in which every number of this map exists."""
        return tuple(c for c in LabelCoding if self.present <= dict(c.value).keys())

    @property
    def safe_coding(self) -> LabelCoding | None:
        """A coding that needs no choice: all that are possible read this map alike."""
        readings = {tuple(sorted(self.meaning(coding).items())) for coding in self.codings}
        return self.codings[0] if len(readings) == 1 else None

    def meaning(self, coding: LabelCoding) -> Mapping[int, Label]:
        """What each number that occurs means in a coding."""
        return {n: label for n, label in coding.value if n in self.present}

    def labels(self, coding: LabelCoding) -> NDArray[np.uint8]:
        """Read the map in a coding: (I, J, K) values of `utils.labels.Label`.

        Raises
        ------
        ValueError
            If a number does not exist in it.
        """
        return coding.decode(self.numbers)


def read_label_map(data: bytes, subject: str, *, millimetres: bool = False) -> LabelMap:
    """Read an uploaded mask through the same gate as a scan.

    Parameters
    ----------
    data : bytes
        A ``.nii`` or ``.nii.gz`` file.
    subject : str
        How messages name it; never the client's file name.
    millimetres : bool
        See `utils.nifti.read_nifti`.

    Raises
    ------
    UnreadableVolumeError
        If the file cannot be trusted, or holds something other than labels.
    """
    volume, notices = read_nifti(data, subject, labels=True, millimetres=millimetres)
    found = np.unique(volume.values)
    if not (np.isin(found, np.arange(np.iinfo(np.uint8).max + 1))).all():
        refuse(subject, "it holds values that are no label numbers", NEXT_STEP)
    present = frozenset(int(number) for number in found) - {0}
    if not any(present <= dict(coding.value).keys() for coding in LabelCoding):
        refuse(subject, f"no known coding has its numbers, {_listed(present)}", NEXT_STEP)
    numbers = volume.values.astype(np.uint8)
    parts = int(lesion_map(numbers > 0).max())
    if parts > MOST_PARTS:
        refuse(subject, f"it has {parts:,} separate parts, so it seems to be noise", NEXT_STEP)
    return LabelMap(numbers, volume.grid, present, notices)


def coding_text(coding: LabelCoding) -> str:
    """Spell out a coding: "1 oedema, 2 necrotic …, 3 enhancing tumour"."""
    return ", ".join(f"{number} {label.title.lower()}" for number, label in coding.value)


def _listed(numbers: frozenset[int]) -> str:
    shown = sorted(numbers)
    more = " and more" if len(shown) > SHOWN_NUMBERS else ""
    return ", ".join(map(str, shown[:SHOWN_NUMBERS])) + more
