"""Tumour burden: what one mask measures, and the list of lesions that every page and file shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count, product
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

from utils.grid import Grid
from utils.labels import Region
from utils.measure import Diameters, Lesion, lesion_map, lesions, region_volumes_ml
from utils.postprocess import SPECK_ML


@dataclass(frozen=True)
class Entry:
    """One line of the list of lesions: a lesion of the whole tumour, or a focus of its core.

    Attributes
    ----------
    name : str
        ``"1"`` for the largest lesion, ``"1a"`` for its largest focus: the same wherever it is
        listed.
    region : Region
        WT for a lesion, TC for a focus.
    part : Lesion
        Its measurements; its number is that within its region.
    diameters : Diameters or None
        Those that RANO counts; None if nothing enhances, or if the foci below have their own.
    foci : int
        How many foci are listed below it.
    """

    name: str
    region: Region
    part: Lesion
    diameters: Diameters | None
    foci: int = 0

    @property
    def title(self) -> str:
        """Name where it stands alone."""
        return f"Lesion {self.name}{', tumour core' if self.region is Region.TC else ''}"


@dataclass(frozen=True, eq=False)
class Burden:
    """What one mask measures on its own voxels: nothing here has been resampled.

    Attributes
    ----------
    labels : (I, J, K) uint8 array
        Values of `utils.labels.Label`.
    grid : Grid
        Where they lie.
    lesions : tuple of Lesion
        Connected parts of the whole tumour, largest first.
    foci : tuple of Lesion
        Connected parts of the tumour core, largest first: several may share an oedema.
    owners : tuple of int
        Number of the lesion in which each focus lies.
    """

    labels: NDArray[np.uint8]
    grid: Grid
    lesions: tuple[Lesion, ...]
    foci: tuple[Lesion, ...]
    owners: tuple[int, ...]

    @cached_property
    def volumes_ml(self) -> dict[Region, float]:
        """Volume of each region."""
        return region_volumes_ml(self.labels, self.grid)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The list: lesions by number, below each its foci if it has several worth measuring."""
        return tuple(entry for lesion in self.lesions for entry in self._entries_of(lesion))

    def name_of(self, region: Region, number: int) -> str:
        """Name of a part under which the list has it; a focus without a line goes by its lesion's.

        Empty for regions of which there is no list.
        """
        for entry in self.entries:
            if (entry.region, entry.part.number) == (region, number):
                return entry.name
        return str(self.owners[number - 1]) if region is Region.TC else ""

    @property
    def measurable(self) -> tuple[Lesion, ...]:
        """Foci of which both diameters are long enough for RANO."""
        return tuple(f for f in self.foci if f.diameters and f.diameters.measurable)

    @property
    def product_sum_mm2(self) -> float:
        """Sum of the bidimensional products of the measurable foci."""
        return sum(f.diameters.product_mm2 for f in self.measurable if f.diameters)

    def _entries_of(self, lesion: Lesion) -> tuple[Entry, ...]:
        own = zip(self.foci, self.owners, strict=True)
        measured = [(f, f.diameters) for f, owner in own if owner == lesion.number and f.diameters]
        foci = [(f, d) for f, d in measured if d.measurable or f.volume_ml >= SPECK_ML]
        name = str(lesion.number)
        if len(foci) < 2:
            diameters = next((d for _, d in foci or measured), None)
            return (Entry(name, Region.WT, lesion, diameters),)
        below = [
            Entry(name + letters, Region.TC, focus, diameters)
            for letters, (focus, diameters) in zip(_letters(), foci, strict=False)
        ]
        return Entry(name, Region.WT, lesion, None, len(foci)), *below


def _letters() -> Iterator[str]:
    """Yield a to z, aa, ab and so on: however many foci there are, each has its line."""
    for length in count(1):
        yield from map("".join, product(ascii_lowercase, repeat=length))


def burden(labels: NDArray[np.uint8], grid: Grid, midline_mm: float | None = None) -> Burden:
    """Measure every lesion and every focus.

    Parameters
    ----------
    labels : (I, J, K) uint8 array
        Values of `utils.labels.Label`.
    grid : Grid
        Where they lie.
    midline_mm : float, optional
        World x of the midline, see `utils.measure.midline_x_mm`.
    """
    foci = lesions(labels, grid, Region.TC, midline_mm)
    core = Region.TC.mask(labels)
    owners = np.zeros(len(foci) + 1, np.int32)
    # a focus lies in one lesion as a whole: whichever of its voxels is written last says the same
    owners[lesion_map(core)[core]] = lesion_map(Region.WT.mask(labels))[core]
    found = lesions(labels, grid, Region.WT, midline_mm)
    return Burden(labels, grid, found, foci, tuple(owners[1:].tolist()))
