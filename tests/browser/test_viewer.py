"""The viewer in a real Chromium: what is drawn, what is sent, what ends."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from pages.components.viewer.encode import FIRST_WINDOWS, window_of
from tests.browser.endurance import held, read_for_long
from tests.browser.viewer_phantom import (
    GRIDS,
    SHAPE,
    make_comparison,
    make_earlier_visit,
    make_segmentation,
    make_study,
)
from utils.labels import Label
from utils.study import Modality

APP = Path(__file__).with_name("viewer_app.py")
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
CANVAS = ".pane canvas[data-scan]"

# The colour in the middle of every voxel of the slice that a canvas shows, row by row; null where
# the voxel lies outside the canvas.
VOXEL_COLOURS = """(canvas, [columns, rows]) => {
  const p = JSON.parse(canvas.dataset.place);
  const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const colours = [];
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
    const x = Math.floor(p.left + (c + 0.5) * p.scaleX);
    const y = Math.floor(p.top + (r + 0.5) * p.scaleY);
    const at = 4 * (y * canvas.width + x);
    const inside = x >= 0 && y >= 0 && x < canvas.width && y < canvas.height;
    colours.push(inside ? [...image.data.slice(at, at + 3)] : null);
  }
  return colours;
}"""


@pytest.fixture
def open_viewer(
    serve: Callable[..., Any], open_tab: Callable[..., Any]
) -> Iterator[Callable[..., Any]]:
    """Open the test app and wait for the first image; afterwards nobody may have complained."""
    tabs = []

    def open_(query: str = "", options: tuple[str, ...] = (), **context: Any) -> Any:
        tab = open_tab(f"{serve(APP, *options).url}/?{query}", **context)
        tab.page.wait_for_selector(CANVAS)
        tab.page.wait_for_function(  # everything has arrived, nothing is going on any more
            "() => performance.getEntriesByType('resource')"
            ".filter((e) => e.name.includes('/_viewer/volume/') && e.responseEnd).length >= 8"
        )
        tab.page.wait_for_timeout(300)
        tabs.append(tab)
        return tab

    yield open_
    for tab in tabs:
        assert tab.complaints == []
        assert tab.foreign_requests() == []


def focus(tab: Any, *keys: str) -> Any:
    """Press keys in the first pane and return its canvas once drawn."""
    canvas = tab.page.locator(CANVAS).first
    canvas.focus()
    for key in keys:
        tab.page.keyboard.press(key)
        # a key that lays the panes out anew takes a frame, and no hand is faster than that
        tab.page.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    tab.page.wait_for_timeout(150)
    return tab.page.locator(CANVAS).first


def slice_of(tab: Any) -> int:
    return int(tab.page.locator(CANVAS).first.get_attribute("data-slice"))


def picture(canvas: Any) -> str:
    return str(canvas.evaluate("(c) => c.toDataURL()"))


def canonical(values: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Reorient to R, A, S, by nibabel rather than by the code under test."""
    image = nib.as_closest_canonical(nib.Nifti1Image(values, affine))
    return np.asarray(image.dataobj)


def on_screen(ras: NDArray[Any], plane: str, index: int, mirrored: bool) -> NDArray[Any]:
    """One slice as a radiologist hangs it: rows from the top, columns from the left."""
    picture = np.take(ras, index, axis=PLANES[plane]).T[::-1]
    return picture[:, ::-1] if mirrored else picture


def grey(values: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.float64]:
    low, high = window
    return np.clip((values - low) / (high - low), 0, 1) * 255


def blended(base: NDArray[np.float64], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey with every label's colour at the viewer's first opacity, (rows, columns, 3)."""
    assert len(np.unique(labels)) == 4  # background and every label: nothing is left untested
    colours = np.repeat(base[..., None], 3, axis=-1)
    for label in (Label.NCR_NET, Label.ED, Label.ET):
        tumour = labels == label
        colours[tumour] = 0.75 * colours[tumour] + 0.25 * np.array(label.colour)
    return colours


@pytest.mark.parametrize("grid_name", GRIDS)
def test_every_drawn_voxel_is_the_numpy_slices(
    open_viewer: Callable[..., Any], grid_name: str
) -> None:
    study = make_study(grid_name)
    segmentation = make_segmentation(study)
    scan = study.scans[Modality.T1]
    window = window_of(scan.values, FIRST_WINDOWS[Modality.T1])
    values = canonical(scan.values, scan.grid.affine)
    labels = canonical(segmentation.labels, scan.grid.affine)

    tab = open_viewer(f"grid={grid_name}")
    tab.page.get_by_text("Look at the core").click()  # all labels in all three planes
    tab.page.get_by_text("13, 14, 10", exact=True).wait_for()
    focus(tab, "i", "x", "t", "f", "2")  # nearest voxel, bare picture, fill only, T1
    for convention, scroll in (("radiological", "ArrowUp"), ("neurological", "ArrowDown")):
        for plane in PLANES:
            canvas = focus(tab, plane[0])
            canvas = focus(tab, scroll)  # so that the pane's memory of its last slice is tried too
            where = (plane, slice_of(tab), plane == "sagittal" or convention == "radiological")
            expected = blended(grey(on_screen(values, *where), window), on_screen(labels, *where))
            rows, columns = expected.shape[:2]
            drawn = canvas.evaluate(VOXEL_COLOURS, [columns, rows])
            assert None not in drawn
            difference = np.abs(np.array(drawn).reshape(rows, columns, 3) - expected)
            assert difference.max() <= 2, (convention, plane)  # rounding of window and blend
        focus(tab, "v")


@pytest.mark.parametrize("grid_name", GRIDS)
def test_a_millimetre_is_as_long_across_as_it_is_down(
    open_viewer: Callable[..., Any], grid_name: str
) -> None:
    tab = open_viewer(f"grid={grid_name}")
    spacing = nib.as_closest_canonical(
        nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), GRIDS[grid_name])
    ).affine
    r, a, s = np.linalg.norm(spacing[:3, :3], axis=0)
    for plane, (across, down) in {"axial": (r, a), "coronal": (r, s), "sagittal": (a, s)}.items():
        place = json.loads(focus(tab, plane[0]).get_attribute("data-place"))
        assert place["scaleX"] / across == pytest.approx(place["scaleY"] / down)


def edges(tab: Any) -> list[tuple[str, str]]:
    """Left and top mark of every pane, as a screen reader hears them once the view has settled."""
    tab.page.wait_for_timeout(1000)
    names = tab.page.locator(CANVAS).evaluate_all("(cs) => cs.map((c) => c.ariaLabel)")
    return [re.search(r"left edge (\w+), top edge (\w+)", name).groups() for name in names]


def test_marks_of_side_are_right_in_every_plane_and_convention(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer("grid=oblique")
    assert edges(tab) == [("R", "A"), ("R", "S"), ("A", "S")]
    focus(tab, "v")
    assert edges(tab) == [("L", "A"), ("L", "S"), ("A", "S")]


def test_the_wheel_draws_every_slice_without_a_word_to_the_server(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer()
    canvas = focus(tab, "a", "Home", "x", "t")  # no text: the picture itself must change
    tab.page.wait_for_timeout(2500)  # the report of the last rest, and the rerun it causes
    frames, requests = tab.frames, len(tab.requests)
    box = canvas.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen = {picture(canvas)}
    for _ in range(20):
        tab.page.mouse.wheel(0, -100)
        tab.page.wait_for_timeout(50)
        seen.add(picture(canvas))
    assert slice_of(tab) == 20
    assert len(seen) == 21
    assert tab.frames == frames
    assert len(tab.requests) == requests


def test_changing_the_overlay_sends_nothing(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    canvas = focus(tab)
    frames, before = tab.frames, picture(canvas)
    tab.page.get_by_label("Overlay opacity").press("End")
    tab.page.wait_for_timeout(2500)
    assert picture(canvas) != before
    assert tab.frames == frames


def test_a_rest_is_reported_in_the_studys_own_voxels(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer("grid=lps")
    tab.page.get_by_text("Look at the corner").click()
    tab.page.get_by_text("1, 2, 3", exact=True).wait_for()
    focus(tab, "a", "Home", "4")
    tab.page.get_by_text("state AXIAL (1, 2, 0) t2").wait_for()


def test_the_page_sends_the_reader_to_a_voxel_once(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer("grid=lps")
    tab.page.get_by_text("Look at the corner").click()
    tab.page.get_by_text("1, 2, 3", exact=True).wait_for()
    assert slice_of(tab) == 3
    focus(tab, "a", "End")
    tab.page.get_by_role("link", name="Other").click()
    tab.page.get_by_text("another page").wait_for()
    tab.page.get_by_role("link", name="Images").click()  # the page still asks for the corner
    tab.page.locator(CANVAS).wait_for()
    assert slice_of(tab) == 29


def test_the_read_out_gives_the_scans_own_values(open_viewer: Callable[..., Any]) -> None:
    study = make_study("lps")
    tab = open_viewer("grid=lps")
    tab.page.get_by_text("Look at the corner").click()
    tab.page.get_by_text("1, 2, 3", exact=True).wait_for()
    names = tab.page.locator(".readout dt").all_inner_texts()
    lines = dict(zip(names, tab.page.locator(".readout dd").all_inner_texts(), strict=True))
    for modality, scan in study.scans.items():
        assert lines[modality.title] == f"{scan.values[1, 2, 3]:.0f}"
    assert lines["Position, mm"] == "R 19.0 A 22.0 S 3.0"
    assert lines["Label"] == "No tumour"
    assert lines["P(whole tumour)"] == "0 %"


def test_the_read_out_says_why_a_label_is_not_what_its_probability_says(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer()
    tab.page.get_by_text("Look at the core").click()
    label = tab.page.locator(".readout div", has=tab.page.get_by_text("Label", exact=True))
    label.get_by_text("Necrotic and non-enhancing core: enclosed by the rim").wait_for()
    core = tab.page.locator(".readout div", has=tab.page.get_by_text("P(tumour core)"))
    assert core.locator("dd").inner_text() == "4 %"


def test_the_viewer_opens_inside_the_largest_slice_of_tumour(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer()
    assert 6 <= slice_of(tab) < 20
    assert tab.page.locator(".readout").get_by_text("No tumour").count() == 0


def test_keys_find_the_tumour(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    focus(tab, "a", "Home", "n")
    assert slice_of(tab) == 6
    focus(tab, "b")
    assert slice_of(tab) == 19
    focus(tab, "End", "l")
    assert 6 <= slice_of(tab) < 20
    focus(tab, "Home", "ArrowUp", "PageUp", "ArrowLeft")
    assert slice_of(tab) == 10


def test_the_legend_names_everything_and_shows_no_label_number(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer()
    lines = tab.page.locator(".legend li").all_inner_texts()
    volumes = {"Necrotic and non-enhancing core": 60, "Oedema": 2728, "Enhancing tumour": 740}
    expected = [f"{title} {voxels / 1000:.1f} mL" for title, voxels in volumes.items()]
    assert [" ".join(line.split()) for line in lines] == expected
    tab.page.get_by_role("button", name="Regions").click()
    lines = tab.page.locator(".legend li").all_inner_texts()
    assert [" ".join(line.split()) for line in lines] == [
        "Whole tumour 3.5 mL",
        "Tumour core 0.8 mL",
        "Enhancing tumour 0.7 mL",
    ]


def test_a_switched_off_label_is_not_drawn(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    canvas = focus(tab, "a", "f", "x", "t")
    with_all = picture(canvas)
    tab.page.locator(".legend").get_by_label("Oedema").last.click()
    tab.page.wait_for_timeout(100)
    assert picture(canvas) != with_all
    focus(tab, "o")
    assert picture(canvas) != with_all


def test_a_second_mask_shows_where_it_differs(open_viewer: Callable[..., Any]) -> None:
    study = make_study("canonical")
    labels = make_segmentation(study).labels > 0
    earlier = make_comparison(study).labels > 0
    tab = open_viewer("grid=canonical&earlier=mask")
    canvas = focus(tab, "a", "i", "x", "t", "v")
    dashed = picture(canvas)
    tab.page.get_by_role("button", name="Differences").click()
    tab.page.wait_for_timeout(200)
    assert picture(canvas) != dashed
    lines = tab.page.locator(".legend").last.locator("li").all_inner_texts()
    lines = [" ".join(line.split()) for line in lines]
    masks = (labels & ~earlier, earlier & ~labels, labels & earlier)
    ml = [np.count_nonzero(mask) / 1000 for mask in masks]
    titles = ["Only here", "Only in: Earlier mask", "In both"]
    assert lines == [f"{title} {value:.1f} mL" for title, value in zip(titles, ml, strict=True)]

    index = slice_of(tab)
    drawn = np.array(canvas.evaluate(VOXEL_COLOURS, list(SHAPE[:2])))
    drawn = drawn.reshape(SHAPE[1], SHAPE[0], 3)[::-1].transpose(1, 0, 2)
    only = {(230, 159, 0): labels & ~earlier, (0, 114, 178): earlier & ~labels}
    scan = study.scans[Modality.FLAIR].values
    base = grey(scan[:, :, index], window_of(scan, FIRST_WINDOWS[Modality.FLAIR]))[..., None]
    for colour, where in only.items():
        expected = (base + np.array(colour)) / 2
        assert np.abs(drawn - expected)[where[:, :, index]].max() <= 2

    tab.page.locator(".legend").last.get_by_label("Only here").click()
    tab.page.wait_for_timeout(200)
    drawn = np.array(canvas.evaluate(VOXEL_COLOURS, list(SHAPE[:2])))
    drawn = drawn.reshape(SHAPE[1], SHAPE[0], 3)[::-1].transpose(1, 0, 2)
    bare = np.repeat(base, 3, axis=-1)
    assert np.abs(drawn - bare)[(labels & ~earlier)[:, :, index]].max() <= 2


def test_both_visits_scroll_zoom_and_window_together(open_viewer: Callable[..., Any]) -> None:
    study = make_study("lps")
    segmentation, earlier = make_segmentation(study), make_earlier_visit(study)
    tab = open_viewer("grid=lps&earlier=visit")
    panes = tab.page.locator(CANVAS)
    assert panes.evaluate_all("(cs) => cs.map((c) => c.dataset.scan)") == ["beside", "t1ce"]
    pressed = tab.page.get_by_role("group", name="Comparison").locator("[aria-pressed=true]")
    assert pressed.all_inner_texts() == ["Differences"]  # as the page wants it
    both = "(cs) => cs.map((c) => [c.dataset.slice, c.dataset.place])"
    box = panes.nth(0).bounding_box()
    tab.page.mouse.move(box["x"] + 100, box["y"] + 150)  # over the earlier visit
    tab.page.mouse.wheel(0, -300)
    tab.page.keyboard.down("Control")
    tab.page.mouse.wheel(0, -100)
    tab.page.keyboard.up("Control")
    tab.page.wait_for_timeout(300)
    left, right = panes.evaluate_all(both)
    assert left == right
    assert json.loads(left[1])["pxPerMm"] > json.loads(left[1])["fit"]

    def shares() -> list[tuple[float, float]]:
        """Where the window's ends lie in each scan's own first window."""
        found = []
        for n, (low, high) in enumerate(firsts):
            now = json.loads(panes.nth(n).get_attribute("data-window"))
            found.append(tuple((end - low) / (high - low) for end in now))
        return found

    rule = FIRST_WINDOWS[Modality.T1CE]
    scans = (earlier.beside[1].values, study.scans[Modality.T1CE].values)
    firsts = [window_of(values, rule) for values in scans]
    focus(tab, "w", "w")
    assert shares()[0] == pytest.approx((0.05, 0.95))
    assert shares()[1] == pytest.approx((0.05, 0.95))
    focus(tab, "6")
    assert shares()[0] == pytest.approx((0.0, 1.6))
    assert shares()[1] == pytest.approx((0.0, 1.6))

    tab.page.get_by_role("button", name="Off", exact=True).click()  # no dashes on the right
    tab.page.get_by_text("Look at the core").click()  # all labels
    tab.page.get_by_text("13, 14, 10", exact=True).wait_for()
    focus(tab, "0", "i", "x", "t", "f")  # nearest voxel, bare picture, fill only
    index = slice_of(tab)
    for n, (values, labels) in enumerate(
        zip(scans, (earlier.labels, segmentation.labels), strict=True)
    ):
        slices = [
            on_screen(canonical(array, study.grid.affine), "axial", index, True)
            for array in (values, labels)
        ]
        expected = blended(grey(slices[0], firsts[n]), slices[1])
        rows, columns = expected.shape[:2]
        drawn = panes.nth(n).evaluate(VOXEL_COLOURS, [columns, rows])
        difference = np.abs(np.array(drawn).reshape(rows, columns, 3) - expected)
        assert difference.max() <= 2


def test_both_visits_are_offered_only_where_there_are_two(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer("earlier=mask")
    assert not tab.page.get_by_role("button", name="Both visits").is_visible()
    focus(tab, "y")
    assert tab.page.locator(CANVAS).count() == 3


def test_zooming_by_key_keeps_the_cross_hair_in_sight(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    tab.page.get_by_text("Look at the corner").click()
    tab.page.get_by_text("1, 2, 3", exact=True).wait_for()
    canvas = focus(tab, "a", *["+"] * 8)
    place = json.loads(canvas.get_attribute("data-place"))
    size = canvas.bounding_box()
    column, row = SHAPE[0] - 1 - 1, SHAPE[1] - 1 - 2  # radiological: right and front come first
    assert place["pxPerMm"] > 5 * place["fit"]
    assert 0 <= place["left"] + (column + 0.5) * place["scaleX"] < size["width"]
    assert 0 <= place["top"] + (row + 0.5) * place["scaleY"] < size["height"]


def test_right_drag_changes_the_window_and_a_double_click_resets_it(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer()
    canvas = focus(tab, "a", "x", "t")
    before = picture(canvas)
    box = canvas.bounding_box()
    x, y = box["x"] + 100, box["y"] + 200
    tab.page.mouse.move(x, y)
    tab.page.mouse.down(button="right")
    tab.page.mouse.move(x - 60, y + 30, steps=4)
    tab.page.mouse.up(button="right")
    tab.page.wait_for_timeout(100)
    assert picture(canvas) != before
    tab.page.mouse.dblclick(x, y)
    tab.page.wait_for_timeout(100)
    assert picture(canvas) == before


def window(tab: Any) -> tuple[float, float]:
    low, high = json.loads(tab.page.locator(CANVAS).first.get_attribute("data-window"))
    return low, high


def test_keys_change_window_and_level(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    focus(tab, "a")
    low, high = window(tab)
    step = (high - low) / 20
    focus(tab, "w", "w")  # more contrast: each press takes half a step off either end
    assert window(tab) == pytest.approx((low + step, high - step))
    focus(tab, "q")
    assert window(tab) == pytest.approx((low + step / 2, high - step / 2))
    focus(tab, "e")
    assert window(tab) == pytest.approx((low + step * 1.5, high + step / 2))
    focus(tab, "r", "r")
    assert window(tab) == pytest.approx((low - step / 2, high - step * 1.5))
    focus(tab, "0")
    assert window(tab) == (low, high)


def test_presets_of_the_window(open_viewer: Callable[..., Any]) -> None:
    study = make_study("canonical")
    values = study.scans[Modality.FLAIR].values
    tumour = np.sort(values[make_segmentation(study).labels > 0])
    tab = open_viewer("grid=canonical")
    focus(tab, "a")
    low, high = window(tab)
    width = high - low
    expected = {
        "Tumour": ("8", (tumour[round(0.02 * 3527)], tumour[round(0.98 * 3527)])),  # 3528 voxels
        "Wide": ("6", (low, low + 1.6 * width)),
        "Narrow": ("7", (low + width / 4, high - width / 4)),
        "Auto": ("5", (low, high)),
    }
    group = tab.page.get_by_role("group", name="Window", exact=True)
    for name, (key, shown) in expected.items():
        focus(tab, key)
        assert window(tab) == pytest.approx(shown), name
        pressed = group.locator("button[aria-pressed=true]")
        assert pressed.all_inner_texts() == [name]
    focus(tab, "w")
    assert group.locator("button[aria-pressed=true]").count() == 0
    group.get_by_text("Wide").click()
    tab.page.wait_for_timeout(150)
    assert window(tab) == pytest.approx(expected["Wide"][1])


def test_alt_and_arrows_pan_and_stay_on_the_page(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    canvas = focus(tab, "a")
    before, address = json.loads(canvas.get_attribute("data-place")), tab.page.url
    canvas = focus(tab, "Alt+ArrowLeft", "Alt+ArrowUp", "Alt+ArrowUp")
    after = json.loads(canvas.get_attribute("data-place"))
    width, height = canvas.evaluate("(c) => [c.width, c.height]")
    assert after["left"] - before["left"] == pytest.approx(-width / 10)
    assert after["top"] - before["top"] == pytest.approx(-height / 5)
    assert tab.page.url == address


def test_cine_plays_at_its_speed_and_stops(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    focus(tab, "a", "Home")
    speed = tab.page.locator(".viewer output")
    assert speed.inner_text() == "12/s"
    focus(tab, *["."] * 20)
    assert speed.inner_text() == "40/s"
    focus(tab, ",", ",")
    assert speed.inner_text() == "36/s"
    focus(tab, " ")
    button = tab.page.get_by_role("button", name="Cine: play or stop")
    assert button.get_attribute("aria-pressed") == "true"
    seen = set()
    for _ in range(20):
        seen.add(slice_of(tab))
        tab.page.wait_for_timeout(50)
    assert len(seen) >= 5
    focus(tab, ",")  # does not stop it
    assert button.get_attribute("aria-pressed") == "true"
    focus(tab, " ")
    assert button.get_attribute("aria-pressed") == "false"
    stopped = slice_of(tab)
    tab.page.wait_for_timeout(500)
    assert slice_of(tab) == stopped


def under(place: dict[str, float], x: float, y: float) -> tuple[float, float]:
    """Column and row of the slice, with fractions, under a pixel of the canvas."""
    return (x - place["left"]) / place["scaleX"], (y - place["top"]) / place["scaleY"]


def test_ctrl_and_the_wheel_zoom_about_the_pointer(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    canvas = focus(tab, "a")
    index, box = slice_of(tab), canvas.bounding_box()
    before = json.loads(canvas.get_attribute("data-place"))
    tab.page.mouse.move(box["x"] + 300, box["y"] + 150)
    tab.page.keyboard.down("Control")
    for _ in range(4):
        tab.page.mouse.wheel(0, -100)
    tab.page.keyboard.up("Control")
    tab.page.wait_for_timeout(150)
    after = json.loads(canvas.get_attribute("data-place"))
    assert after["pxPerMm"] / before["pxPerMm"] == pytest.approx(np.exp(4 * 100 * 0.002))
    assert under(after, 300, 150) == pytest.approx(under(before, 300, 150), abs=0.1)
    assert slice_of(tab) == index


def test_two_fingers_zoom_about_their_middle(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer(has_touch=True)
    canvas = focus(tab, "a")
    index = slice_of(tab)
    before = json.loads(canvas.get_attribute("data-place"))
    pinch = """(canvas) => {
      const box = canvas.getBoundingClientRect();
      canvas.setPointerCapture = () => {};
      const at = (type, pointerId, x) => canvas.dispatchEvent(new PointerEvent(type, {
        pointerId, pointerType: "touch", bubbles: true,
        clientX: box.x + x, clientY: box.y + 150 }));
      at("pointerdown", 1, 250);
      at("pointerdown", 2, 350);
      for (let n = 1; n <= 10; n++) {
        at("pointermove", 1, 250 - 5 * n);
        at("pointermove", 2, 350 + 5 * n);
      }
      at("pointerup", 1, 200);
      at("pointerup", 2, 400);
    }"""
    canvas.evaluate(pinch)
    tab.page.wait_for_timeout(150)
    after = json.loads(canvas.get_attribute("data-place"))
    assert after["pxPerMm"] / before["pxPerMm"] == pytest.approx(2.0)  # from 100 px apart to 200
    assert under(after, 300, 150) == pytest.approx(under(before, 300, 150), abs=0.3)
    assert slice_of(tab) == index


def test_scrolling_for_long_fills_no_memory(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    session = tab.page.context.new_cdp_session(tab.page)
    read_for_long(tab.page, frames=300)  # every way of looking at it once
    before = held(session)
    read_for_long(tab.page, frames=600)  # 3000 events of the wheel, 60 changes of scan or layout
    after = held(session)
    assert after.heap_bytes - before.heap_bytes < 300_000
    assert after.nodes - before.nodes < 100
    assert after.listeners - before.listeners < 50


def test_the_viewer_lives_under_the_apps_strict_policy(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()  # its clean console is checked as everywhere here
    with urllib.request.urlopen(tab.page.url) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-eval" not in policy


def test_a_finger_taps_the_cross_hair_and_swipes_through_slices(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer(has_touch=True)
    canvas = focus(tab, "a", "i", "x", "t")
    index = slice_of(tab)
    box = canvas.bounding_box()
    place = json.loads(canvas.get_attribute("data-place"))
    # the pixel of column 3, row 5: radiologically the 4th voxel from the right, the 6th from front
    x, y = place["left"] + 3.5 * place["scaleX"], place["top"] + 5.5 * place["scaleY"]
    tab.page.touchscreen.tap(box["x"] + x, box["y"] + y)
    tab.page.get_by_text(f"36, 42, {index}", exact=True).wait_for()
    swipe = """(canvas, [x, y, dy]) => {
      const at = (type, y) => canvas.dispatchEvent(new PointerEvent(type, {
        pointerId: 7, pointerType: "touch", clientX: x, clientY: y, bubbles: true }));
      canvas.setPointerCapture = () => {};
      at("pointerdown", y);
      for (let n = 1; n <= 10; n++) at("pointermove", y + (dy * n) / 10);
      at("pointerup", y + dy);
    }"""
    canvas.evaluate(swipe, [box["x"] + x, box["y"] + 300, -100])
    tab.page.wait_for_timeout(150)
    assert slice_of(tab) > index
    tab.page.get_by_text(f"36, 42, {slice_of(tab)}", exact=True).wait_for()


def test_a_page_switch_and_a_rerun_fetch_nothing_and_lose_nothing(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer()
    focus(tab, "c", "3", "End")
    tab.page.wait_for_timeout(2500)
    volumes = [url for url in tab.requests if "/_viewer/volume/" in url]
    assert len(volumes) == len(set(volumes)) == 8
    tab.page.get_by_text("Run again").click()
    tab.page.get_by_role("link", name="Other").click()
    tab.page.get_by_text("another page").wait_for()
    tab.page.get_by_role("link", name="Images").click()
    canvas = tab.page.locator(CANVAS)
    canvas.wait_for()
    assert canvas.get_attribute("data-plane") == "coronal"
    assert canvas.get_attribute("data-scan") == "t1ce"
    assert slice_of(tab) == 47
    assert [url for url in tab.requests if "/_viewer/volume/" in url] == volumes


def test_two_tabs_have_addresses_and_views_of_their_own(open_viewer: Callable[..., Any]) -> None:
    first, second = open_viewer("grid=canonical"), open_viewer("grid=anisotropic")
    focus(first, "a", "Home")
    focus(second, "a", "End")
    assert (slice_of(first), slice_of(second)) == (0, 29)
    ours = {url for url in first.requests if "/_viewer/volume/" in url}
    theirs = {url for url in second.requests if "/_viewer/volume/" in url}
    assert not ours & theirs


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_an_erased_studys_addresses_are_dead(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer()
    volumes = [url for url in tab.requests if "/_viewer/volume/" in url]
    assert {status(url) for url in volumes} == {200}
    tab.page.get_by_text("Erase").click()
    deadline = time.monotonic() + 10
    while status(volumes[0]) == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {status(url) for url in volumes} == {404}


def test_a_closed_tabs_addresses_die(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer("grace=1", options=("--logger.level=error",))  # a server of its own
    volumes = [url for url in tab.requests if "/_viewer/volume/" in url]
    assert status(volumes[0]) == 200
    tab.page.close()
    deadline = time.monotonic() + 30
    while status(volumes[0]) == 200 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert {status(url) for url in volumes} == {404}


def test_the_viewer_works_under_a_base_path(open_viewer: Callable[..., Any]) -> None:
    tab = open_viewer(options=("--server.baseUrlPath=clinic",))
    assert all("/clinic/_viewer/" in url for url in tab.requests if "/_viewer/" in url)


def test_everything_can_be_reached_and_named_by_keyboard_and_screen_reader(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer()
    nameless = tab.page.locator(".viewer").evaluate("""(viewer) =>
      [...viewer.querySelectorAll("button, input, select, canvas[tabindex]")]
        .filter((e) => !(e.ariaLabel || (e.closest("label") ?? e).textContent.trim()))
        .map((e) => e.outerHTML)""")
    assert nameless == []
    unreachable = tab.page.locator(".viewer").evaluate("""(viewer) =>
      [...viewer.querySelectorAll("button, input, select")].filter((e) => e.tabIndex < 0).length""")
    assert unreachable == 0
    focus(tab, "?")
    assert tab.page.get_by_role("dialog", name="Keys and mouse").is_visible()
    tab.page.keyboard.press("Escape")
    assert not tab.page.get_by_role("dialog", name="Keys and mouse").is_visible()


@pytest.mark.parametrize(
    ("width", "height"), [(1024, 768), (1280, 720), (1920, 1080), (3840, 2160)]
)
def test_nothing_is_cut_off_at(open_viewer: Callable[..., Any], width: int, height: int) -> None:
    tab = open_viewer(viewport={"width": width, "height": height})
    frame = tab.page.locator(".viewer").bounding_box()
    for selector in (".toolbar", ".stage", ".side", ".toolbar button >> nth=-1"):
        box = tab.page.locator(f".viewer {selector}").bounding_box()
        assert box["x"] >= frame["x"] - 1
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
    assert tab.page.locator(".stage").bounding_box()["height"] >= 300


def test_a_picture_is_saved_without_the_patients_name(
    open_viewer: Callable[..., Any], tmp_path: Path
) -> None:
    tab = open_viewer()
    canvas = focus(tab, "a", "Home")
    with tab.page.expect_download() as download:
        tab.page.keyboard.press("p")
    assert download.value.suggested_filename == "viewer-axial-1.png"
    download.value.save_as(tmp_path / "picture.png")
    content = (tmp_path / "picture.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(content[16:20]) >= canvas.bounding_box()["width"]


def test_the_controls_wear_the_pages_own_colours(open_viewer: Callable[..., Any]) -> None:
    options = ("--theme.light.backgroundColor=#102030", "--theme.light.textColor=#d0e0f0")
    tab = open_viewer(options=options, color_scheme="light")
    viewer = tab.page.locator(".viewer")
    assert viewer.evaluate("(v) => getComputedStyle(v).backgroundColor") == "rgb(16, 32, 48)"
    assert viewer.evaluate("(v) => getComputedStyle(v).color") == "rgb(208, 224, 240)"


def test_without_webgl_there_is_no_3d_and_everything_else_works(
    open_viewer: Callable[..., Any],
) -> None:
    tab = open_viewer()
    assert tab.page.get_by_role("button", name="3-D").count() == 0
    focus(tab, "d")
    assert tab.page.locator(".pane.solid").count() == 0
    assert slice_of(tab) > 0


def test_the_3d_view_draws_brain_and_tumour_and_turns(
    open_viewer: Callable[..., Any], chromium_with_webgl: Any
) -> None:
    tab = open_viewer(browser=chromium_with_webgl)
    requests = len(tab.requests)
    tab.page.get_by_role("button", name="3-D").click()
    solid = tab.page.locator(".solid canvas[data-triangles]")
    solid.wait_for()
    assert int(solid.get_attribute("data-triangles")) > 1000
    tab.page.wait_for_timeout(300)
    before = solid.screenshot()
    assert len(set(before)) > 100  # not a black rectangle
    pane = solid.bounding_box()
    for letter in "RLAPSI":
        box = tab.page.locator(".pane.solid span", has_text=letter).bounding_box()
        assert pane["x"] <= box["x"] <= pane["x"] + pane["width"] - box["width"]
        assert pane["y"] <= box["y"] <= pane["y"] + pane["height"] - box["height"]
    solid.focus()
    tab.page.keyboard.press("ArrowLeft")
    tab.page.wait_for_timeout(300)
    assert solid.screenshot() != before
    names = [url.rsplit("/", 1)[1] for url in tab.requests[requests:] if "_viewer" in url]
    assert sorted(names) == ["solid.js", "surface.js"]  # loaded only now


def test_a_lost_graphics_card_is_said_and_the_3d_view_comes_back(
    open_viewer: Callable[..., Any], chromium_with_webgl: Any
) -> None:
    tab = open_viewer(browser=chromium_with_webgl)
    tab.page.get_by_role("button", name="3-D").click()
    solid = tab.page.locator(".solid canvas[data-triangles]")
    solid.wait_for()
    drawn = solid.screenshot()
    message = tab.page.get_by_text("The graphics card has dropped the 3-D view")
    assert not message.is_visible()
    solid.evaluate("""(canvas) => {
      window.card = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
      window.card.loseContext();
    }""")
    message.wait_for()
    focus(tab, "ArrowUp", "ArrowDown")  # the planes go on
    tab.page.evaluate("window.card.restoreContext()")
    message.wait_for(state="hidden")
    tab.page.wait_for_timeout(500)
    assert solid.screenshot() == drawn


@pytest.mark.parametrize("convention", ["radiological", "neurological"])
def test_from_above_the_nose_is_up_and_right_is_right(
    open_viewer: Callable[..., Any], chromium_with_webgl: Any, convention: str
) -> None:
    tab = open_viewer(browser=chromium_with_webgl)
    if convention == "neurological":
        focus(tab, "v")
    tab.page.get_by_role("button", name="3-D").click()
    tab.page.locator(".solid canvas[data-triangles]").wait_for()
    places = {}
    for view in ("Look from above", "Look from the feet"):
        tab.page.get_by_role("button", name=view).click()
        tab.page.wait_for_timeout(500)
        for letter in "RLAP":
            box = tab.page.locator(".pane.solid span", has_text=letter).bounding_box()
            places[view, letter] = (box["x"], box["y"])
    above, below = "Look from above", "Look from the feet"
    assert places[above, "A"][1] < places[above, "P"][1]
    assert places[below, "A"][1] < places[below, "P"][1]
    assert places[above, "L"][0] < places[above, "R"][0]  # a head is not mirrored by a convention
    assert places[below, "R"][0] < places[below, "L"][0]
