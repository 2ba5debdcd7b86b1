"""Slices as pictures: right way round for any upload, true to scale, labelled."""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from utils.grid import Grid
from utils.labels import TUMOUR_LABELS, Label, Region
from utils.measure import Diameters
from utils.plane import Plane, opposite
from utils.volume import Volume

RESEARCH_USE = "Research use only. Not for diagnosis."
WINDOW_PERCENTILES = (1.0, 99.5)
SCALE_BARS_MM = (100, 50, 20, 10, 5, 2, 1)
THUMBNAIL_PX = 128

_OUTLINE_PX = 2
_MARGIN_PX = 8
_FONT_PX = 15
_STRIP_PX = 26
_WHITE = (255, 255, 255)
_BLACK = (0, 0, 0)

Labels = NDArray[np.uint8]
Picture = NDArray[np.uint8]
Window = tuple[float, float]


@dataclass(frozen=True)
class View:
    """Which slice, and from which side.

    Attributes
    ----------
    plane : Plane
        Cut through the body.
    index : int
        Slice number along the plane's array axis, as the file stores it.
    window : (low, high) or None
        Intensities shown black and white; None takes `display_window` of the whole scan.
    radiological : bool
        Patient's left on the picture's right; False mirrors axial and coronal pictures.

    Raises
    ------
    ValueError
        If the window is empty.
    """

    plane: Plane
    index: int
    window: Window | None = None
    radiological: bool = True

    def __post_init__(self) -> None:
        if self.window and not self.window[0] < self.window[1]:
            raise ValueError(f"a window runs from low to high, got {self.window}")

    @property
    def edges(self) -> dict[str, str]:
        """Letter of the body direction at the picture's left, right, top and bottom edge."""
        right, down = self.plane.right_and_down
        if self.mirrored:
            right = opposite(right)
        return {"left": opposite(right), "right": right, "top": opposite(down), "bottom": down}

    @property
    def mirrored(self) -> bool:
        """Whether the columns run against `Plane.lay_out`."""
        return not self.radiological and self.plane is not Plane.SAGITTAL


@dataclass(frozen=True)
class Style:
    """How the picture looks.

    Attributes
    ----------
    opacity : float
        Of the label colours, 0-1.
    outline : bool
        Draw the labels' borders instead of filling them.
    shown : tuple of Label
        Labels drawn.
    diameters : tuple of Diameters
        Drawn on the axial slice they were measured on.
    longest_side_px : int
        Size of the slice in the picture.

    Raises
    ------
    ValueError
        If the opacity is not within 0-1, or the picture has no pixels.
    """

    opacity: float = 0.45
    outline: bool = False
    shown: tuple[Label, ...] = TUMOUR_LABELS
    diameters: tuple[Diameters, ...] = ()
    longest_side_px: int = 512

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity must lie within 0 and 1, got {self.opacity}")
        if self.longest_side_px < 1:
            raise ValueError(f"a picture needs pixels, got {self.longest_side_px}")


FILLED = Style()


def display_window(scan: Volume) -> Window:
    """Find the intensities to show black and white: percentiles of the scan's non-zero voxels."""
    inside = scan.values[scan.values != 0]
    if not inside.size:
        return 0.0, 1.0
    low, high = np.percentile(inside, WINDOW_PERCENTILES)
    return float(low), float(max(high, np.nextafter(low, np.inf)))


def key_slice(labels: Labels, grid: Grid, plane: Plane) -> int:
    """Find the slice with the largest tumour area; the middle one if there is no tumour."""
    axis = plane.array_axis(grid)
    areas = Region.WT.mask(labels).sum(axis=tuple(a for a in range(3) if a != axis))
    return int(areas.argmax()) if areas.any() else grid.shape[axis] // 2


def slice_rgb(scan: Volume, labels: Labels | None, view: View, style: Style = FILLED) -> Picture:
    """Paint one slice, without any lettering.

    Parameters
    ----------
    scan : Volume
        What is shown in grey.
    labels : (I, J, K) uint8 array or None
        Values of `utils.labels.Label` on the scan's grid.
    view : View
        Which slice.
    style : Style
        How.

    Returns
    -------
    (rows, columns, 3) uint8 array
        Square pixels; the picture's longer side has `style.longest_side_px` of them.

    Raises
    ------
    ValueError
        If the labels do not fit the scan.
    IndexError
        If there is no such slice.
    """
    if labels is not None and labels.shape != scan.grid.shape:
        raise ValueError(f"labels {labels.shape} do not fit the scan {scan.grid.shape}")
    size = _size_px(scan.grid, view.plane, style.longest_side_px)
    picture = _grey(scan, view, size).astype(np.float64)
    if labels is not None:
        painted = _resized(_laid_out(labels, scan.grid, view), size, Image.Resampling.NEAREST)
        for label in style.shown:
            where = painted == label
            if style.outline:
                where &= ~ndimage.binary_erosion(where, iterations=_OUTLINE_PX)
            opacity = 1.0 if style.outline else style.opacity
            picture[where] += opacity * (np.array(label.colour) - picture[where])
    return np.rint(picture).astype(np.uint8)


def lettered_rgb(scan: Volume, labels: Labels | None, view: View, style: Style = FILLED) -> Picture:
    """Paint one slice with side letters, scale bar and diameters; otherwise as `slice_rgb`."""
    image = Image.fromarray(slice_rgb(scan, labels, view, style))
    draw = ImageDraw.Draw(image)
    _draw_diameters(draw, scan.grid, view, style)
    _draw_letters(draw, view, image.size)
    _draw_scale_bar(draw, image.size, _px_per_mm(scan.grid, view.plane, style.longest_side_px))
    return np.asarray(image)


def slice_png(scan: Volume, labels: Labels | None, view: View, style: Style = FILLED) -> bytes:
    """Paint one slice as `lettered_rgb` does, with the research-use line below.

    Returns
    -------
    bytes
        A PNG file without any metadata; equal input gives equal bytes.
    """
    image = Image.fromarray(lettered_rgb(scan, labels, view, style))
    return _png(_with_research_line(image))


def thumbnail(scan: Volume) -> bytes:
    """Paint the middle axial slice of what is not zero, small and without lettering, as PNG."""
    axis = Plane.AXIAL.array_axis(scan.grid)
    filled = np.flatnonzero(scan.values.any(axis=tuple(a for a in range(3) if a != axis)))
    index = int(filled[filled.size // 2]) if filled.size else scan.grid.shape[axis] // 2
    style = Style(longest_side_px=THUMBNAIL_PX)
    return _png(Image.fromarray(slice_rgb(scan, None, View(Plane.AXIAL, index), style)))


def _laid_out(values: NDArray[np.generic], grid: Grid, view: View) -> NDArray[np.generic]:
    picture = view.plane.lay_out(values, grid, view.index)
    return picture[:, ::-1] if view.mirrored else picture


def _grey(scan: Volume, view: View, size: tuple[int, int]) -> Picture:
    """(rows, columns, 3) windowed slice at the picture's size."""
    low, high = view.window or display_window(scan)
    pixels = _laid_out(scan.values, scan.grid, view).astype(np.float64)
    levels = np.rint(255 * np.clip((pixels - low) / (high - low), 0, 1)).astype(np.uint8)
    return np.stack([_resized(levels, size, Image.Resampling.BILINEAR)] * 3, axis=-1)


def _resized(pixels: NDArray[np.generic], size: tuple[int, int], how: Image.Resampling) -> Picture:
    rows, columns = size
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((columns, rows), how))


def _px_per_mm(grid: Grid, plane: Plane, longest_side_px: int) -> float:
    return longest_side_px / max(_size_mm(grid, plane))


def _size_px(grid: Grid, plane: Plane, longest_side_px: int) -> tuple[int, int]:
    scale = _px_per_mm(grid, plane, longest_side_px)
    height_mm, width_mm = _size_mm(grid, plane)
    return max(round(height_mm * scale), 1), max(round(width_mm * scale), 1)


def _size_mm(grid: Grid, plane: Plane) -> tuple[float, float]:
    """Height and width of the slice."""
    rows, columns = plane.lay_out(np.empty(grid.shape, np.bool_), grid, 0).shape
    pixel_height_mm, pixel_width_mm = plane.pixel_size_mm(grid)
    return rows * pixel_height_mm, columns * pixel_width_mm


def _draw_diameters(draw: ImageDraw.ImageDraw, grid: Grid, view: View, style: Style) -> None:
    for diameters in style.diameters:
        if view.plane is Plane.AXIAL and diameters.slice_index == view.index:
            for ends in (diameters.longest_ends, diameters.perpendicular_ends):
                line = [_position_px(end, grid, view, style.longest_side_px) for end in ends]
                draw.line(line, fill=_BLACK, width=4)
                draw.line(line, fill=_WHITE, width=2)


def _position_px(
    voxel: tuple[float, float, float], grid: Grid, view: View, longest_side_px: int
) -> tuple[float, float]:
    """Place a voxel index in the picture: x to the right, y down."""
    row, column = view.plane.pixel_of(voxel, grid)
    pixel_height_mm, pixel_width_mm = view.plane.pixel_size_mm(grid)
    scale = _px_per_mm(grid, view.plane, longest_side_px)
    x = (column + 0.5) * pixel_width_mm * scale
    if view.mirrored:
        x = _size_mm(grid, view.plane)[1] * scale - x
    return x, (row + 0.5) * pixel_height_mm * scale


def _draw_letters(draw: ImageDraw.ImageDraw, view: View, size: tuple[int, int]) -> None:
    width, height = size
    places = {
        "left": ((_MARGIN_PX, height / 2), "lm"),
        "right": ((width - _MARGIN_PX, height / 2), "rm"),
        "top": ((width / 2, _MARGIN_PX), "mt"),
        "bottom": ((width / 2, height - _MARGIN_PX), "mb"),
    }
    for edge, letter in view.edges.items():
        position, anchor = places[edge]
        _write(draw, position, letter, anchor)


def _draw_scale_bar(draw: ImageDraw.ImageDraw, size: tuple[int, int], px_per_mm: float) -> None:
    """Draw the longest round length that takes at most a third of the picture's width."""
    width, height = size
    fitting = [mm for mm in SCALE_BARS_MM if mm * px_per_mm <= width / 3]
    if not fitting:
        return
    right, bottom = width - _MARGIN_PX, height - _MARGIN_PX
    left = right - round(fitting[0] * px_per_mm)
    draw.rectangle((left - 1, bottom - 4, right, bottom), fill=_BLACK)
    draw.rectangle((left, bottom - 3, right - 1, bottom - 1), fill=_WHITE)
    _write(draw, ((left + right) / 2, bottom - 8), f"{fitting[0]} mm", "mb")


def _with_research_line(image: Image.Image) -> Image.Image:
    """Put the line under the picture, never over it; small pictures get a wider sheet."""
    width = max(image.width, round(_font().getlength(RESEARCH_USE)) + 2 * _MARGIN_PX)
    sheet = Image.new("RGB", (width, image.height + _STRIP_PX))
    sheet.paste(image, ((width - image.width) // 2, 0))
    line = (width / 2, image.height + _STRIP_PX / 2)
    _write(ImageDraw.Draw(sheet), line, RESEARCH_USE, "mm")
    return sheet


def _write(
    draw: ImageDraw.ImageDraw, position: tuple[float, float], text: str, anchor: str
) -> None:
    draw.text(position, text, _WHITE, _font(), anchor, stroke_width=2, stroke_fill=_BLACK)


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Pillow's own font: the same letters on every machine."""
    font = ImageFont.load_default(size=_FONT_PX)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType; install one of its wheels")
    return font


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
