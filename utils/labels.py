"""BraTS labels and regions. The only place that knows the numbers 1, 2 and 4."""

from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray


class Label(IntEnum):
    """Voxel values as BraTS 2020 stores them; 3 has been unused since BraTS 2017."""

    BACKGROUND = 0
    NCR_NET = 1
    ED = 2
    ET = 4

    @property
    def title(self) -> str:
        """The name a reader knows."""
        return _TITLES[self]

    @property
    def colour(self) -> tuple[int, int, int]:
        """Red, green, blue 0-255, from Okabe and Ito's palette: safe for colour-blind readers."""
        return _COLOURS[self]


TUMOUR_LABELS = (Label.NCR_NET, Label.ED, Label.ET)
"""The labels that are drawn, listed and exported."""

_TITLES = {
    Label.BACKGROUND: "Background",
    Label.NCR_NET: "Necrotic and non-enhancing core",
    Label.ED: "Oedema",
    Label.ET: "Enhancing tumour",
}
_COLOURS = {
    Label.BACKGROUND: (0, 0, 0),
    Label.NCR_NET: (213, 94, 0),
    Label.ED: (86, 180, 233),
    Label.ET: (240, 228, 66),
}


class Region(Enum):
    """Nested regions, ET inside TC inside WT; definition order is that of the network's outputs."""

    WT = frozenset({Label.NCR_NET, Label.ED, Label.ET})
    TC = frozenset({Label.NCR_NET, Label.ET})
    ET = frozenset({Label.ET})

    @property
    def title(self) -> str:
        """The name a reader knows."""
        return {"WT": "Whole tumour", "TC": "Tumour core", "ET": "Enhancing tumour"}[self.name]

    def mask(self, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Voxels of `labels` that belong to this region; same shape."""
        return np.isin(labels, list(self.value))


def regions_of(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(..., 3) membership of each voxel in `Region` order."""
    return np.stack([region.mask(labels) for region in Region], axis=-1)


def labels_of(regions: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Labels of (..., 3) region membership: what lies outside WT is nothing, outside TC not ET."""
    whole = regions[..., 0]
    core = whole & regions[..., 1]
    labels = np.where(whole, np.uint8(Label.ED), np.uint8(Label.BACKGROUND))
    labels[core] = Label.NCR_NET
    labels[core & regions[..., 2]] = Label.ET
    return labels


class LabelCoding(Enum):
    """How a data set's files number the labels; (its number, our label).

    A file does not say which coding it uses, and 1 to 3 occur in two of them with different
    meanings: the coding must be known from where the file comes from.
    """

    BRATS_2020 = ((1, Label.NCR_NET), (2, Label.ED), (4, Label.ET))  # 2017 to 2021
    BRATS_2023 = ((1, Label.NCR_NET), (2, Label.ED), (3, Label.ET))  # 2023 on
    MSD = ((1, Label.ED), (2, Label.NCR_NET), (3, Label.ET))  # Medical Segmentation Decathlon

    def decode(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Our labels for a file's values; same shape.

        Raises
        ------
        ValueError
            If a value is none of this coding's, which is how a wrong coding or a mask that was
            interpolated shows.
        """
        strangers = sorted(set(np.unique(values).tolist()) - {0, *dict(self.value)})
        if strangers:
            raise ValueError(f"values {strangers[:5]} do not exist in the coding {self.name}")
        labels = np.zeros(values.shape, np.uint8)
        for number, label in self.value:
            labels[values == number] = label
        return labels
