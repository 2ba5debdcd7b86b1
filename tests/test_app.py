"""The app as a person drives it, through ``app.py``; the network is one that anyone can check."""

import gzip
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import streamlit as st
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from model import worker
from model.predict import Network
from pages.components import downloads
from pages.components import engine as engine_module
from pages.components.session import Visit
from utils.errors import ModelError
from utils.grid import Grid
from utils.labels import Region
from utils.nifti import write_labels
from utils.phantom import demo_study
from utils.sidecar import Result, sidecar_json
from utils.study import Modality
from utils.volume import Volume

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "pages/views").glob("[!_]*.py"))
SHAPE, BOX = (48, 56, 40), (slice(10, 20), slice(20, 30), slice(15, 25))  # the box holds 1 mL
LPS = np.diag([-1.0, -1, 1, 1])
SHIFTED = np.array([[-1, 0, 0, 9], [0, -1, 0, 9], [0, 0, 1, 9], [0, 0, 0, 1.0]])

Files = list[tuple[str, bytes, str]]


def bright_is_enhancing(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    bright = tensor.mean(axis=-1, keepdims=True) > 0.9
    return np.repeat(bright, len(Region), axis=-1).astype(np.float32)


def network(run=bright_is_enhancing) -> Network:
    return Network(
        run, window=(48, 56, 40), model_id="fake", weights_sha256="0" * 64, runtime="by hand"
    )


@pytest.fixture(autouse=True)
def _fake_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine_module, "load_network", network)
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture
def app() -> AppTest:
    return AppTest.from_file(ROOT / "app.py", default_timeout=60).run()


def scan(modality: Modality, *, affine: NDArray[np.float64] = LPS) -> bytes:
    """A head whose contrasts are those of its modality, with one bright millilitre."""
    rng = np.random.default_rng(list(Modality).index(modality))
    values = np.zeros(SHAPE, np.uint8)
    inner = tuple(slice(4, n - 4) for n in SHAPE)
    values[inner] = rng.integers(60, 120, values[inner].shape)
    values[BOX] = 250
    return write_labels(values, Grid(SHAPE, affine))


def four_files() -> Files:
    return [(f"case_{m}.nii.gz", scan(m), "application/gzip") for m in Modality]


def drop(app: AppTest, files: Files) -> AppTest:
    app.file_uploader[0].set_value(files)
    return app.run()


def segmented(app: AppTest) -> AppTest:
    """Accept what is amber, press the button, and wait."""
    for box in app.checkbox:
        box.check()
    app.run()
    app.button(key="segment").click().run()
    return finished(app)


def finished(app: AppTest) -> AppTest:
    for _ in range(120):
        if app.metric or app.error or app.exception:
            return app
        time.sleep(0.25)
        app.run()
    raise AssertionError("the segmentation did not end")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_opens_and_says_that_it_is_for_research(app: AppTest, page: Path) -> None:
    app.switch_page(str(page.relative_to(ROOT))).run()
    assert not app.exception
    assert "Not a medical device" in app.caption[0].value


def test_every_page_keeps_the_address_that_readers_have_marked(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    navigation = st.navigation

    def spy(pages: list[Any], **options: Any) -> Any:
        shown.extend(page.url_path for page in pages)
        return navigation(pages, **options)

    monkeypatch.setattr(st, "navigation", spy)
    app.run()
    assert shown == ["", "compare", "followup", "model", "selftest", "guide"]


def test_no_script_lies_where_streamlit_would_serve_it_without_the_frame() -> None:
    assert [p.name for p in (ROOT / "pages").glob("*.py")] == ["__init__.py"]


def test_one_click_on_the_demo_study_ends_in_volumes(app: AppTest) -> None:
    app.button(key="demo").click().run()
    finished(app)
    assert not app.exception
    assert "synthetic" in app.markdown[0].value
    assert [m.label for m in app.metric] == ["Whole tumour", "Tumour core", "Enhancing tumour"]


def test_everything_about_the_demo_study_can_be_taken_home_and_says_that_it_is_synthetic(
    app: AppTest,
) -> None:
    app.button(key="demo").click().run()
    finished(app)
    visit: Visit = app.session_state["visit"]
    assert visit.segmentation is not None
    assert visit.mask is not None
    result = Result(visit.intake.study, visit.segmentation, visit.intake.sha256, visit.mask)
    sidecar = json.loads(sidecar_json(result))
    assert sidecar["notices"] == ["The scans are synthetic: they show no patient."]


def test_four_files_dropped_at_once_end_in_volumes_and_downloads(app: AppTest) -> None:
    drop(app, four_files())
    assert not app.exception
    assert not app.error
    segmented(app)
    assert [m.value for m in app.metric] == ["1.0 mL"] * 3
    assert not app.exception


def test_what_is_typed_last_is_on_the_report_although_the_click_came_first(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pressed: dict[str, Callable[[], bytes]] = {}

    def drawn(title: str, data: Callable[[], bytes], *_: object, **__: object) -> None:
        pressed.setdefault(title, data)  # the one drawn first: a click during a rerun asks that

    monkeypatch.setattr(st, "download_button", drawn)
    monkeypatch.setattr(downloads, "SETTLING_S", 0)
    monkeypatch.setattr(downloads, "report_pdf", lambda _, notes: notes.typed_text.encode())
    drop(app, four_files())
    segmented(app)
    make = pressed["One-page report (PDF)"]
    assert make() == b""
    app.text_input[0].set_value("Room 5").run()
    assert make() == b"Room 5"


def test_a_zip_of_the_four_files_does_too(app: AppTest) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data, _ in four_files():
            archive.writestr(f"folder/{name}", data)
    drop(app, [("case.zip", packed.getvalue(), "application/zip")])
    segmented(app)
    assert [m.value for m in app.metric] == ["1.0 mL"] * 3


def test_four_files_in_four_slots_do_too(app: AppTest) -> None:
    slots = [u for u in app.file_uploader if u.label in {m.title for m in Modality}]
    for slot, modality in zip(slots, Modality, strict=True):
        slot.set_value(("scan.nii.gz", scan(modality), "application/gzip"))
    app.run()
    segmented(app)
    assert [m.value for m in app.metric] == ["1.0 mL"] * 3


def test_a_missing_scan_is_named(app: AppTest) -> None:
    drop(app, [f for f in four_files() if "t1ce" not in f[0]])
    assert any("T1ce" in info.value for info in app.info)
    assert "segment" not in {b.key for b in app.button}


@pytest.mark.parametrize(
    ("spoilt", "expected"),
    [
        (b"GIF89a not a scan", "T2"),
        (scan(Modality.T2)[:5000], "incomplete"),
        (scan(Modality.T2, affine=SHIFTED), "T2"),
        (gzip.compress(b"\0" * 100_000), "T2"),
    ],
    ids=["no NIfTI", "cut", "another grid", "zeros"],
)
def test_a_file_that_cannot_be_used_gives_sentences_and_no_button(
    app: AppTest, spoilt: bytes, expected: str
) -> None:
    files = [*four_files()[:3], ("case_t2.nii.gz", spoilt, "application/gzip")]
    drop(app, files)
    assert not app.exception
    (error,) = app.error  # said once
    assert expected in error.value
    assert not any(error.value in text.value for text in (*app.caption, *app.markdown, *app.info))
    assert "Traceback" not in error.value
    assert "segment" not in {b.key for b in app.button}


def test_erasing_leaves_nothing_of_the_patient_on_screen(app: AppTest) -> None:
    drop(app, four_files())
    segmented(app)
    app.button(key="erase").click().run()
    assert not app.metric
    assert not app.selectbox
    drop(app, [("case_t2.nii.gz", b"GIF89a not a scan", "application/gzip")])
    assert not app.metric


def test_the_result_survives_a_look_at_another_page(app: AppTest) -> None:
    drop(app, four_files())
    segmented(app)
    app.switch_page("pages/views/guide.py").run()
    app.switch_page("pages/views/segment.py").run()
    assert [m.value for m in app.metric] == ["1.0 mL"] * 3


def away_and_back(app: AppTest) -> AppTest:
    app.switch_page("pages/views/guide.py").run()
    return app.switch_page("pages/views/segment.py").run()


def test_files_survive_a_look_at_another_page(app: AppTest) -> None:
    drop(app, four_files()[:3])
    away_and_back(app)
    kept = next(c.value for c in app.caption if "Still here" in c.value)
    assert all(name in kept for name, *_ in four_files()[:3])
    drop(app, four_files()[3:])  # into a field that looks empty: it adds, it does not replace
    segmented(app)
    assert [m.value for m in app.metric][:3] == ["1.0 mL"] * 3


def test_a_file_in_a_slot_of_its_own_survives_it_too_and_can_be_replaced(app: AppTest) -> None:
    drop(app, four_files()[1:])
    slot = next(u for u in app.file_uploader if u.label == "FLAIR")
    slot.set_value(("old.nii.gz", b"GIF89a not a scan", "application/gzip"))
    app.run()
    away_and_back(app)
    assert any("old.nii.gz" in c.value for c in app.caption)
    slot = next(u for u in app.file_uploader if u.label == "FLAIR")
    slot.set_value(four_files()[0])
    app.run()
    assert not any("old.nii.gz" in c.value for c in app.caption)
    segmented(app)
    assert [m.value for m in app.metric][:3] == ["1.0 mL"] * 3


def test_what_was_kept_can_be_removed(app: AppTest) -> None:
    drop(app, four_files())
    away_and_back(app)
    next(b for b in app.button if b.label == "Remove").click().run()
    assert not app.selectbox
    assert not any("Still here" in c.value for c in app.caption)


def test_what_is_taken_out_of_the_field_is_gone(app: AppTest) -> None:
    drop(app, four_files())
    drop(app, four_files()[:2])
    assert {len(box.options) for box in app.selectbox} == {2}


def test_a_slot_that_overrides_a_choice_says_so(app: AppTest) -> None:
    drop(app, four_files())
    slot = next(u for u in app.file_uploader if u.label == "T2")
    slot.set_value(("better.nii.gz", scan(Modality.T2), "application/gzip"))
    app.run()
    (told,) = app.warning
    assert "T2: the file in its own field is used (better.nii.gz)" in told.value
    assert "not the one chosen above (case_t2.nii.gz)" in told.value


def test_a_scan_in_metres_is_refused_until_a_person_confirms_millimetres(app: AppTest) -> None:
    name, data, kind = four_files()[3]
    header = bytearray(gzip.decompress(data))
    header[123] = 1  # xyzt_units: metres
    drop(app, [*four_files()[:3], (name, gzip.compress(bytes(header)), kind)])
    assert "measures in metres" in app.error[0].value
    assert "1 x 1 x 1 mm" in app.error[0].value
    assert "segment" not in {b.key for b in app.button}
    next(box for box in app.checkbox if "millimetres" in box.label).check().run()
    assert not app.error
    segmented(app)
    assert [m.value for m in app.metric][:3] == ["1.0 mL"] * 3
    notices = app.session_state["visit"].segmentation.provenance.notices
    assert any("the reader confirmed that its numbers are millimetres" in n for n in notices)


def test_the_wrong_choice_can_be_corrected_by_hand(app: AppTest) -> None:
    files = [(f"scan{n}.nii.gz", scan(m), "application/gzip") for n, m in enumerate(Modality)]
    drop(app, files)
    assert len(app.selectbox) == 4
    assert {box.value for box in app.selectbox} == {None}
    for number, box in enumerate(app.selectbox):
        box.select_index(number)
    app.run()
    segmented(app)
    assert [m.value for m in app.metric] == ["1.0 mL"] * 3


def test_a_network_that_fails_gives_a_sentence_and_no_result(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Network:
        raise ModelError("The model brats-unet is damaged. Restore the folder.")

    monkeypatch.setattr(engine_module, "load_network", broken)
    st.cache_resource.clear()
    app.run()
    app.button(key="demo").click().run()
    finished(app)
    assert "Restore the folder" in app.error[0].value
    assert not app.metric
    assert not app.exception


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_says_that_the_network_is_missing_and_can_load_it_again(
    app: AppTest, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Network:
        raise ModelError("The model brats-unet is damaged. Restore the folder.")

    monkeypatch.setattr(engine_module, "load_network", broken)
    st.cache_resource.clear()
    app.switch_page(str(page.relative_to(ROOT))).run()
    until(lambda: engine_module.engine().ready)
    app.run()
    assert not app.exception
    assert "Restore the folder" in app.error[0].value
    monkeypatch.setattr(engine_module, "load_network", network)
    app.button(key="load_again").click().run()
    until(lambda: engine_module.engine().ready)
    app.run()
    assert not any("Restore the folder" in error.value for error in app.error)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_head_without_tumour_is_said_aloud(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind() -> Network:
        return network(lambda t: np.zeros((*t.shape[:3], 3), np.float32))

    monkeypatch.setattr(engine_module, "load_network", blind)
    st.cache_resource.clear()
    app.run()
    app.button(key="demo").click().run()
    finished(app)
    assert [m.value for m in app.metric] == ["none found"] * 3
    assert "No tumour was found" in app.info[0].value


def test_that_the_reader_chose_to_go_on_stands_in_the_record(app: AppTest) -> None:
    thick = LPS @ np.diag([1, 1, 3, 1])
    files = [(f"case_{m}.nii.gz", scan(m, affine=thick), "application/gzip") for m in Modality]
    segmented(drop(app, files))
    notes = app.session_state["visit"].segmentation.provenance.notices
    (spacing,) = [note for note in notes if "Voxels of 1 x 1 x 3 mm" in note]
    assert spacing.endswith("The reader chose to go on.")


def test_the_page_and_the_command_give_the_same_mask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The shipped network on the demo study, by both ways in: equal to the last byte."""
    study, _ = demo_study()
    files = [(f"case_{m}.nii.gz", file_of(study.scans[m]), "application/gzip") for m in Modality]
    for name, content, _ in files:
        (tmp_path / name).write_bytes(content)
    out = tmp_path / "masks" / "out.nii.gz"
    out.parent.mkdir()
    command = [sys.executable, "-m", "model.predict", str(tmp_path), str(out)]
    subprocess.run(command, check=True, cwd=ROOT)
    monkeypatch.setattr(engine_module, "load_network", worker.load_network)
    st.cache_resource.clear()
    app = segmented(drop(AppTest.from_file(ROOT / "app.py", default_timeout=60).run(), files))
    assert not app.exception
    assert app.session_state["visit"].mask == out.read_bytes()


def file_of(scan: Volume) -> bytes:
    image = nib.Nifti1Image(scan.values.astype(np.int16), scan.grid.affine)
    return gzip.compress(image.to_bytes(), 1)
