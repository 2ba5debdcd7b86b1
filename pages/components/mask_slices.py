"""Two masks on plain slices, for masks that come without the four scans of a study."""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from utils.grid import Grid
from utils.labels import Region
from utils.overlay import BOTH, ONLY_FIRST, ONLY_SECOND, difference_rgb
from utils.plane import Plane
from utils.render import Style, View, display_window, key_slice
from utils.volume import Volume

LARGE = Style(longest_side_px=560)


@dataclass(frozen=True, eq=False)
class TwoMasks:
    """What is shown.

    Attributes
    ----------
    background : Volume
        Under the masks.
    first, second : (I, J, K) uint8 arrays
        Labels on the background's grid.
    titles : (str, str)
        What the reader calls them.
    """

    background: Volume
    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    titles: tuple[str, str]


@st.fragment
def mask_slices(shown: TwoMasks, key: str) -> None:
    """Slices with the masks' differences in colour; scrolling reruns nothing else."""
    grid = shown.background.grid
    choices, picture = st.columns([1, 2], gap="large")
    with choices:
        plane = plane_choice(key)
        region = region_choice("Show", key)
        start = key_slice(np.maximum(shown.first, shown.second), grid, plane)
        index = slice_slider(plane, grid, start, key)
        legend(*shown.titles)
    view = View(plane, index, display_window(shown.background))
    masks = region.mask(shown.first), region.mask(shown.second)
    picture.image(difference_rgb(shown.background, *masks, view, LARGE))


def plane_choice(key: str) -> Plane:
    """One of the three planes."""
    names = [plane.title for plane in Plane]
    chosen = st.segmented_control(
        "Plane", names, default=names[0], required=True, key=f"plane_{key}"
    )
    return Plane[str(chosen).upper()]


def region_choice(title: str, key: str) -> Region:
    """One of the three regions."""
    names = {region.title: region for region in Region}
    chosen = st.segmented_control(
        title, list(names), default=Region.WT.title, required=True, key=f"region_{key}"
    )
    return names[str(chosen)]


def slice_slider(plane: Plane, grid: Grid, start: int, key: str) -> int:
    """Index of the slice whose number is chosen; every plane keeps its own place."""
    count = plane.slice_count(grid)
    first = plane.number_of(start, grid)
    number = st.slider("Slice", 1, count, first, key=f"slice_{key}_{plane.name}_{count}")
    return plane.index_of(number, grid)


def legend(first: str, second: str) -> None:
    """What the colours of a difference mean."""
    parts = ((f"Only in: {first}", ONLY_FIRST), (f"Only in: {second}", ONLY_SECOND))
    for text, colour in (*parts, ("In both", BOTH)):
        swatch, name = st.columns([1, 9], vertical_alignment="center")
        swatch.image(np.full((20, 20, 3), colour, np.uint8), width=20)
        name.markdown(text)
