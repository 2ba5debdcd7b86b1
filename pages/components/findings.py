"""What was found in the study on screen, how far it can be trusted, and where to look."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from model.reliability import shipped_reliability
from pages.components.session import Visit, current_visit, memo, recall
from pages.components.table import table
from pages.components.viewer import LookAt
from utils.burden import Burden, Entry, burden
from utils.cohort import cohort
from utils.correct import NO_EDITS, removals_of
from utils.doubt import doubtful_slices, volume_spreads
from utils.grid import Grid
from utils.labels import TUMOUR_LABELS, Label, Region
from utils.measure import (
    MEASURABLE_MM,
    Diameters,
    Lesion,
    Side,
    label_volumes_ml,
    millilitres,
    region_volumes_ml,
    study_midline_mm,
)
from utils.plane import Plane
from utils.segmentation import Segmentation

MOST_LESIONS = 8
WHOLE_ML = 10.0  # from here on a range is told without decimals

_SIDES = {
    Side.LEFT: "left hemisphere",
    Side.RIGHT: "right hemisphere",
    Side.MIDLINE: "at the midline",
    None: "",
}
_WIDTHS = (0.7, 1.5, 1.3, 1, 1, 1, 1.2, 1.2, 1.3, 1.5)
_TITLES = (
    *("Lesion", "Where", "Centroid, mm", "Volume", "Core", "Enhancing", "Extent, mm"),
    *("Diameters", "Product", ""),
)


def burden_of(visit: Visit, segmentation: Segmentation) -> Burden:
    """What the mask on screen measures; the same object for as long as it is the same mask."""
    study = visit.intake.study
    midline_mm = memo(("midline",), lambda: study_midline_mm(study))
    return memo(
        ("burden", visit.edits),
        lambda: burden(segmentation.labels, segmentation.grid, midline_mm),
    )


def volumes(visit: Visit, segmentation: Segmentation, columns: Sequence[DeltaGenerator]) -> None:
    """Show one number a region, below it how far it may be off, or what the reader changed."""
    found = burden_of(visit, segmentation).volumes_ml
    for column, (region, volume_ml) in zip(columns, found.items(), strict=True):
        parts = " + ".join(label.title for label in TUMOUR_LABELS if label in region.value)
        column.metric(
            region.title,
            millilitres(volume_ml),
            _below(visit, region, volume_ml),
            delta_color="off",
            delta_arrow="off",
            help=f"{parts}. {_where_from(visit)}",
        )


def remarks(visit: Visit, segmentation: Segmentation) -> None:
    """Show what must be known before the result is trusted."""
    if not Region.WT.mask(segmentation.labels).any():
        st.info("No tumour was found. That is no proof that there is none: look at the scans.")
    for notice in visit.intake.notices:
        if notice.consent:
            st.warning(notice.text, icon=":material/warning:")


def lesion_table(visit: Visit, segmentation: Segmentation) -> None:
    """List the lesions, largest first; a click shows one in the viewer or takes it out."""
    found = burden_of(visit, segmentation)
    if not found.lesions:
        return
    with st.container(gap="xxsmall"):
        for column, title in zip(st.columns(_WIDTHS, gap="xsmall"), _TITLES, strict=True):
            column.caption(title)
        for entry in _listed(found):
            _draw(entry, segmentation.grid, alone=len(found.lesions) == 1)
    st.caption(" ".join([*_rest(found), _products(found)]))


def volume_table(visit: Visit, segmentation: Segmentation) -> None:
    """Show every volume, beside it how far it may be off or what was changed, and the cohort."""
    compared = cohort()
    titles, beside = _beside(visit)
    rows = []
    for region, ml in burden_of(visit, segmentation).volumes_ml.items():
        share = f"{compared.share_below(region, ml):.0%}" if ml else ""
        rows.append((region.title, millilitres(ml), *beside(region, ml), share))
    for label, ml in label_volumes_ml(segmentation.labels, segmentation.grid).items():
        if label is not Label.ET:  # is a region too
            rows.append((label.title, millilitres(ml), *("" for _ in titles), ""))
    table(("", "Volume", *titles, "Larger than"), rows)
    st.caption(
        f"Larger than in this share of {compared.patients} {compared.title} patients. "
        f"{_where_from(visit)}"
    )


def where_to_look(segmentation: Segmentation) -> None:
    """Offer the slices on which the model expects its own mask to be most wrong, a click each."""
    doubtful = memo(("doubt",), lambda: doubtful_slices(segmentation))
    if not doubtful:
        return
    grid = segmentation.grid
    with st.container(gap="xxsmall"):
        st.markdown("**Where to look**", help="The slices on which the model expects most errors.")
        for position, slice_ in enumerate(doubtful):
            axial = Plane.AXIAL.number_of(slice_.voxel[Plane.AXIAL.array_axis(grid)], grid)
            st.button(
                f"Axial {axial}: {slice_.expected_error_ml:.1f} mL in doubt",
                key=f"doubt_{position}",
                on_click=_look_at,
                args=(slice_.voxel,),
                type="tertiary",
                icon=":material/my_location:",
            )


def provenance(visit: Visit, segmentation: Segmentation) -> None:
    """Tell how the result came to be, folded away."""
    made_by = segmentation.provenance
    with st.expander("How this came to be"):
        told = (*made_by.told, *(n.text for n in visit.intake.notices if not n.consent))
        st.markdown("\n".join(f"- {line}" for line in told))
        st.caption(
            f"Model {made_by.model_id}, weights {made_by.weights_sha256[:12]}, "
            f"{made_by.runtime}, {made_by.seconds:.1f} s."
        )


def _beside(visit: Visit) -> tuple[tuple[str, ...], Callable[[Region, float], tuple[str, ...]]]:
    """Titles and cells of the columns beside a region's volume."""
    if visit.edits != NO_EDITS:
        before = _models_ml(visit)
        return ("Model's own",), lambda region, _: (millilitres(before[region]),)
    known, spreads = shipped_reliability(), _spreads(visit)
    return ("Likely", "Expected Dice"), lambda region, _: (
        _range(visit, region),
        "{:.2f} ({:.2f} to {:.2f})".format(*known.expected_dice(region, spreads[region])),
    )


def _spreads(visit: Visit) -> dict[Region, float]:
    """How much of each region the model doubts."""
    model = visit.segmentation
    return memo(("spreads",), lambda: volume_spreads(model)) if model else {}


def _models_ml(visit: Visit) -> dict[Region, float]:
    """Volumes in the model's own mask."""
    model = visit.segmentation
    if model is None:
        return {}
    return memo(("model's volumes",), lambda: region_volumes_ml(model.labels, model.grid))


def _range(visit: Visit, region: Region) -> str:
    """Between what a volume of the model's own mask probably lies."""
    known = shipped_reliability()
    low, high = known.volume_intervals_ml(_models_ml(visit), _spreads(visit))[region]
    return f"{low:.0f} to {high:.0f} mL" if high >= WHOLE_ML else f"{low:.1f} to {high:.1f} mL"


def _below(visit: Visit, region: Region, volume_ml: float) -> str:
    """Difference from the model's own volume, or else the range that holds the true one.

    Of a corrected mask the model's errors say nothing.
    """
    if visit.edits != NO_EDITS:
        change_ml = volume_ml - _models_ml(visit)[region]
        return f"{change_ml:+.1f} mL by you" if change_ml else "unchanged"
    return f"likely {_range(visit, region)}"


def _where_from(visit: Visit) -> str:
    """Say what the likely range rests on, where one is shown."""
    known = shipped_reliability()
    if visit.edits != NO_EDITS:
        return ""
    return (
        f"Likely: holds the true value in {known.coverage:.0%} of comparable cases, by the errors "
        f"on {known.cases} patients the network never saw and its doubt about this one."
    )


def _listed(found: Burden) -> Iterator[Entry]:
    """Yield what the table has room for: the largest lesions, each with its foci."""
    for entry in found.entries:
        if entry.region is Region.WT and entry.part.number > MOST_LESIONS:
            return
        yield entry


def _cells(entry: Entry) -> tuple[str, ...]:
    """What the table says of a lesion or focus, but for its name."""
    part = entry.part
    return (
        _SIDES[part.side],
        _centroid(part),
        millilitres(part.volume_ml) if entry.region is Region.WT else "",
        _cell(part.volumes_ml[Region.TC]),
        _cell(part.volumes_ml[Region.ET]),
        " × ".join(f"{mm:.0f}" for mm in part.extent_mm),
        *((f"{entry.foci} foci", "") if entry.foci else _measured(entry.diameters)),
    )


def _cell(volume_ml: float) -> str:
    return millilitres(volume_ml) if volume_ml else ""


def _measured(diameters: Diameters | None) -> tuple[str, str]:
    """Diameters and their product."""
    if diameters is None:
        return "", ""
    product = f"{diameters.product_mm2:.0f} mm²" if diameters.measurable else "not measurable"
    return f"{diameters.longest_mm:.0f} × {diameters.perpendicular_mm:.0f} mm", product


def _draw(row: Entry, grid: Grid, *, alone: bool) -> None:
    """Draw one line of the table with its buttons."""
    first, *middle, last = st.columns(_WIDTHS, gap="xsmall", vertical_alignment="center")
    first.button(
        row.name,
        key=f"look_{_key(row)}",
        icon=":material/my_location:",
        type="tertiary",
        help=f"Show {row.name} in the viewer",
        on_click=_look_at,
        args=(_voxel_of(row.part, grid),),
    )
    for column, cell in zip(middle, _cells(row), strict=True):
        column.markdown(cell)
    with last.container(horizontal=True, gap="small"):
        _act("Remove", row, _remove, "Takes it out of the mask; undo under *Correct*")
        if not alone and row.region is Region.WT:
            _act("Only", row, _keep_only, "Takes all other lesions out of the mask")


def _act(title: str, row: Entry, act: Callable[[str, int], None], explained: str) -> None:
    st.button(
        title,
        key=f"{title.lower()}_{_key(row)}",
        type="tertiary",
        help=explained,
        on_click=act,
        args=(row.region.name, row.part.number),
    )


def _key(row: Entry) -> str:
    """Tells a line's buttons from all others."""
    return f"{row.region.name}_{row.part.number}"


def _centroid(part: Lesion) -> str:
    """Position in the file's own millimetres, as the viewer tells it: L 32, A 14, S 40."""
    return ", ".join(
        f"{ends[mm < 0]} {abs(mm):.0f}"
        for mm, ends in zip(part.centroid_mm, ("RL", "AP", "SI"), strict=True)
    )


def _voxel_of(part: Lesion, grid: Grid) -> tuple[int, int, int]:
    """Where to look at a part: the middle of its longest diameter, or of itself."""
    if part.diameters:
        middle = np.mean(part.diameters.longest_ends, axis=0)
    else:
        inverse = np.linalg.inv(grid.affine)
        middle = inverse[:3, :3] @ part.centroid_mm + inverse[:3, 3]
    i, j, k = np.clip(np.rint(middle), 0, np.array(grid.shape) - 1).astype(int).tolist()
    return i, j, k


def _rest(found: Burden) -> Iterator[str]:
    """Say what the table leaves out."""
    rest = found.lesions[MOST_LESIONS:]
    if rest:
        volume_ml = sum(lesion.volume_ml for lesion in rest)
        yield f"And {len(rest)} smaller ones, {millilitres(volume_ml)} in all."


def _products(found: Burden) -> str:
    """Sum up as RANO does."""
    count = len(found.measurable)
    rule = f"both diameters {MEASURABLE_MM:.0f} mm or more, on the axial slice with most of it"
    if not count:
        return f"No measurable enhancing focus ({rule})."
    foci = "1 measurable enhancing focus" if count == 1 else f"{count} measurable enhancing foci"
    return f"Sum of products: {found.product_sum_mm2:.0f} mm², {foci} ({rule})."


def _look_at(voxel: tuple[int, int, int]) -> None:
    visit = current_visit()
    if visit is not None:
        visit.look_at = LookAt(voxel, Plane.AXIAL)


def _remove(region_name: str, number: int) -> None:
    _take_out(Region[region_name], lambda part: part.number == number)


def _keep_only(region_name: str, number: int) -> None:
    _take_out(Region[region_name], lambda part: part.number != number)


def _take_out(region: Region, condemned: Callable[[Lesion], bool]) -> None:
    """Remove the parts of a region that are condemned, as they are shown now."""
    visit = current_visit()
    found: Burden | None = recall(("burden", visit.edits)) if visit else None
    if visit is None or found is None:
        return
    parts = found.lesions if region is Region.WT else found.foci
    removals = removals_of([part for part in parts if condemned(part)], found.labels, region)
    visit.history = visit.history.do(visit.edits.without(removals))
