"""One page for the tumour board."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from utils.burden import Burden, Entry
from utils.grid import Grid
from utils.labels import TUMOUR_LABELS, Label, Region
from utils.measure import (
    Diameters,
    label_volumes_ml,
    millilitres,
    region_volumes_ml,
)
from utils.plane import Plane
from utils.render import RESEARCH_USE, Style, View, display_window, key_slice, lettered_rgb
from utils.segmentation import Segmentation
from utils.sidecar import PROGRAM, VERSION, Result, provenance_line
from utils.study import Modality, Study
from utils.volume import Volume

Box = tuple[slice, slice, slice]

LONGEST_TYPED_TEXT = 55
MOST_LINES = 6

_A4_INCHES = (8.27, 11.69)
_PICTURED = (Modality.FLAIR, Modality.T1CE)
_PICTURE_PX = 360  # so that the letters in it are legible on paper
_LINE = 0.0148  # of the page's height
_LEFT = 0.06
_LINE_CHARACTERS = 118
_VOLUME_COLUMNS = (_LEFT, 0.39, 0.54)
_PICTURE_HEIGHT = 0.225  # of the page
_MARGIN_MM = 12.0  # around the head, for the letters
_LESION_COLUMNS = (_LEFT, 0.12, 0.22, 0.36, 0.50, 0.64, 0.76)
_LESION_TITLES = ("No.", "Side", "Volume", "Core", "Enhancing", "Diameters", "Product")


@dataclass(frozen=True)
class ReportNotes:
    """What the segmentation itself does not hold.

    Attributes
    ----------
    typed_text : str
        Typed by the person at the screen to identify the patient; printed here and kept nowhere.
    intervals_ml : mapping of Region to (low, high)
        Where that share of comparable cases lie, in mL.
    coverage : float
        The share.

    Raises
    ------
    ValueError
        If the typed text does not fit its line.
    """

    typed_text: str = ""
    intervals_ml: Mapping[Region, tuple[float, float]] = field(default_factory=dict)
    coverage: float = 0.9

    def __post_init__(self) -> None:
        if len(self.typed_text) > LONGEST_TYPED_TEXT:
            raise ValueError(f"at most {LONGEST_TYPED_TEXT} characters fit on the report")


NO_NOTES = ReportNotes()


def report_pdf(result: Result, notes: ReportNotes = NO_NOTES) -> bytes:
    """Lay out pictures, volumes, lesions, notices and provenance on one A4 page.

    Parameters
    ----------
    result : Result
        What is reported.
    notes : ReportNotes
        What is printed besides.

    Returns
    -------
    bytes
        A PDF file that states the time of the run, not its own; its keywords are the provenance.
        Equal input gives equal bytes.
    """
    metadata = {
        "CreationDate": None,
        "Title": "Brain tumour segmentation",
        "Subject": RESEARCH_USE,
        "Creator": f"{PROGRAM} {VERSION}",
        "Keywords": provenance_line(result),
    }
    file = io.BytesIO()
    report_figure(result, notes).savefig(file, format="pdf", metadata=metadata)
    return file.getvalue()


def report_figure(result: Result, notes: ReportNotes) -> Figure:
    """Lay the page out, as `report_pdf` prints it."""
    segmentation, study = result.segmentation, result.study
    figure = Figure(figsize=_A4_INCHES)
    page = _Page(figure)
    page.write("Brain tumour segmentation", size=15, weight="bold")
    page.write(RESEARCH_USE, weight="bold", colour="#b00020")
    page.write(_made(result), size=8)
    if notes.typed_text:
        page.write(notes.typed_text)
    page.skip()
    _add_pictures(page, segmentation, study, _largest_diameters(result.burden))
    _add_volumes(page, result, notes)
    _add_lesions(page, result.burden)
    _add_notes(page, segmentation)
    return figure


class _Page:
    """A sheet that is filled from the top down."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.y = 0.965

    def write(
        self, text: str, size: float = 9, weight: str = "normal", colour: str = "black"
    ) -> None:
        """Write one line."""
        self._put(_LEFT, text, size, weight, colour)
        self.skip(size / 9)

    def write_row(self, cells: Sequence[str], columns: Sequence[float], weight: str) -> None:
        """Write one line of a table, each cell at its share of the page's width."""
        for x, cell in zip(columns, cells, strict=True):
            self._put(x, cell, 9, weight, "black")
        self.skip()

    def skip(self, lines: float = 1) -> None:
        """Leave room."""
        self.y -= lines * _LINE

    def _put(self, x: float, text: str, size: float, weight: str, colour: str) -> None:
        # a "$" in a typed text is a dollar, not the start of a formula
        self.figure.text(
            x, self.y, text, size=size, weight=weight, color=colour, va="top", parse_math=False
        )


def _made(result: Result) -> str:
    """Say when, and who had the last word."""
    minute = result.segmentation.provenance.finished_utc[:16].replace("T", " ")
    time = f"Segmented {minute} UTC by {PROGRAM} {VERSION}"
    return time if result.own is None else f"{time}. Corrected by a reader."


def _largest_diameters(found: Burden) -> Diameters | None:
    return max(
        (focus.diameters for focus in found.foci if focus.diameters),
        key=lambda diameters: diameters.product_mm2,
        default=None,
    )


def _add_pictures(
    page: _Page, segmentation: Segmentation, study: Study, diameters: Diameters | None
) -> None:
    """Place three planes a modality; the axial one is where the diameters were measured."""
    labels, grid = segmentation.labels, segmentation.grid
    slices = {plane: key_slice(labels, grid, plane) for plane in Plane}
    if diameters:
        slices[Plane.AXIAL] = diameters.slice_index
    box = _head_box(study, labels)
    drawn = (_moved(diameters, grid, box),) if diameters else ()
    style = Style(outline=True, diameters=drawn, longest_side_px=_PICTURE_PX)
    for modality in _PICTURED:
        page.y -= _PICTURE_HEIGHT
        scan = _cut(study.scans[modality], box)
        window = display_window(scan)
        for column, (plane, index) in enumerate(slices.items()):
            place = (_LEFT + 0.295 * column, page.y, 0.29, _PICTURE_HEIGHT)
            view = View(plane, index - box[plane.array_axis(grid)].start, window)
            axes = page.figure.add_axes(place)
            axes.imshow(lettered_rgb(scan, labels[box], view, style))
            axes.set_axis_off()
            axes.set_anchor("NW")
        page.skip(0.3)
        numbers = ", ".join(f"{p.title.lower()} {p.number_of(i, grid)}" for p, i in slices.items())
        page.write(f"{modality.title}: slices {numbers} in the viewer, radiological convention", 8)
    _add_legend(page)


def _head_box(study: Study, labels: NDArray[np.uint8]) -> Box:
    """Find what there is to see, with a margin for the letters; everything if there is nothing."""
    seen = labels != Label.BACKGROUND
    for modality in _PICTURED:
        seen |= study.scans[modality].stored != 0
    found = ndimage.find_objects(seen.astype(np.uint8)) or [tuple(slice(0, n) for n in seen.shape)]
    margins = (round(_MARGIN_MM / size) for size in study.grid.spacing_mm)
    i, j, k = (
        slice(max(0, side.start - margin), min(n, side.stop + margin))
        for side, margin, n in zip(found[0], margins, seen.shape, strict=True)
    )
    return i, j, k


def _cut(scan: Volume, box: Box) -> Volume:
    """The part of a scan that lies in a box, where it is in the body."""
    affine = scan.grid.affine.copy()
    affine[:3, 3] = affine[:3] @ [*(side.start for side in box), 1]
    values = scan.values[box]
    i, j, k = values.shape
    return Volume(values, Grid((i, j, k), affine))


def _moved(diameters: Diameters, grid: Grid, box: Box) -> Diameters:
    """Diameters in the voxel indices of a box."""
    origin = np.array([side.start for side in box])
    (a, b), (c, d) = (
        (tuple((np.array(end) - origin).tolist()) for end in ends)
        for ends in (diameters.longest_ends, diameters.perpendicular_ends)
    )
    return replace(
        diameters,
        slice_index=diameters.slice_index - int(origin[Plane.AXIAL.array_axis(grid)]),
        longest_ends=(a, b),
        perpendicular_ends=(c, d),
    )


def _add_legend(page: _Page) -> None:
    for position, label in enumerate(TUMOUR_LABELS):
        red, green, blue = label.colour
        x = _LEFT + 0.31 * position
        colour = f"#{red:02x}{green:02x}{blue:02x}"
        page.figure.text(x, page.y, "\N{BLACK SQUARE}", color=colour, size=10, va="top")
        page.figure.text(x + 0.02, page.y, label.title, size=8.5, va="top")
    page.skip(1.8)


def _add_volumes(page: _Page, result: Result, notes: ReportNotes) -> None:
    """One row a region, then one a label that is no region; beside it the interval, or what was."""
    titles, beside = _beside(result, notes)
    page.write("Volumes", size=11, weight="bold")
    if titles:
        page.write_row(("", "", *titles), _VOLUME_COLUMNS, "normal")
    for structure, volume_ml in _volumes_ml(result).items():
        cells = (structure.title, millilitres(volume_ml), *beside(structure))
        page.write_row(cells, _VOLUME_COLUMNS[: len(cells)], "normal")
    page.skip(0.6)


def _beside(
    result: Result, notes: ReportNotes
) -> tuple[tuple[str, ...], Callable[[Region | Label], tuple[str, ...]]]:
    """Title and cells of the column beside the volumes, if there is anything to say."""
    own = result.own
    if own is not None:
        before = _volumes_ml(own)
        return ("Model's own",), lambda structure: (millilitres(before[structure]),)
    if not notes.intervals_ml:
        return (), lambda _: ()
    ranges: dict[Region | Label, str] = {
        region: f"{low:.1f} to {high:.1f} mL" for region, (low, high) in notes.intervals_ml.items()
    }
    title = f"{notes.coverage:.0%} of comparable cases lie within"
    return (title,), lambda structure: (ranges.get(structure, ""),)


def _volumes_ml(result: Result) -> dict[Region | Label, float]:
    """Volume of every region, and of the labels that are none."""
    labels, grid = result.segmentation.labels, result.segmentation.grid
    parts = label_volumes_ml(labels, grid)
    del parts[Label.ET]  # the region of that name says it
    return dict([*region_volumes_ml(labels, grid).items(), *parts.items()])


def _add_lesions(page: _Page, found: Burden) -> None:
    """Print the list of lesions under the names that they have on the screen."""
    page.write("Lesions", size=11, weight="bold")
    if not found.entries:
        page.write("None found. That is no proof that there is none.")
        page.skip(0.6)
        return
    page.write_row(_LESION_TITLES, _LESION_COLUMNS, "bold")
    for entry in found.entries[:MOST_LINES]:
        page.write_row(_lesion_cells(entry), _LESION_COLUMNS, "normal")
    if len(found.entries) > MOST_LINES:
        page.write(f"and {len(found.entries) - MOST_LINES} more, in the table of volumes (CSV)")
    page.write(
        f"Sum of the products of measurable foci of the core: {found.product_sum_mm2:.0f} mm². "
        "Enhancing part, on its largest axial slice."
    )
    page.skip(0.6)


def _lesion_cells(entry: Entry) -> tuple[str, ...]:
    part, diameters = entry.part, entry.diameters
    lines = f"{entry.foci} foci" if entry.foci else "-"
    return (
        entry.name,
        part.side.value if part.side else "unknown",
        millilitres(part.volume_ml) if entry.region is Region.WT else "",
        millilitres(part.volumes_ml[Region.TC]),
        millilitres(part.volumes_ml[Region.ET]),
        f"{diameters.longest_mm:.0f} x {diameters.perpendicular_mm:.0f} mm" if diameters else lines,
        _product(diameters) if diameters else "",
    )


def _product(diameters: Diameters) -> str:
    product = f"{diameters.product_mm2:.0f} mm²"
    return product if diameters.measurable else f"{product}, not measurable"


def _add_notes(page: _Page, segmentation: Segmentation) -> None:
    """Print notices and steps in small type; what does not fit is counted, not just dropped."""
    made_by = segmentation.provenance
    page.write("Notices and provenance", size=11, weight="bold")
    texts = [
        *made_by.notices,
        *made_by.told,
        f"Model {made_by.model_id} on {made_by.runtime}, weights {made_by.weights_sha256}",
    ]
    lines = [line for text in texts for line in wrap(f"- {text}", _LINE_CHARACTERS)]
    fitting = max(int(page.y / (_LINE * 7.5 / 9)) - 3, 1)
    for line in lines[:fitting]:
        page.write(line, size=7.5)
    if len(lines) > fitting:
        page.write(f"and {len(lines) - fitting} lines more, in the sidecar file", size=7.5)
