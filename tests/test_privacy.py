"""A patient's name planted everywhere a file can hold one is in nothing that leaves the app."""

import gzip
import io
import logging
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import streamlit as st
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from model.predict import Network
from pages.components import engine as engine_module
from utils.grid import Grid
from utils.labels import Region
from utils.nifti import write_labels
from utils.report import NO_NOTES, report_figure
from utils.sidecar import Result
from utils.study import Modality

ROOT = Path(__file__).parents[1]
CANARY = b"DOE^JANE/MRN12345"
TRACE = re.compile(rb"doe[^a-z]|jane|mrn_?12345|j\x00a\x00n\x00e", re.IGNORECASE)
SHAPE, BOX = (48, 56, 40), (slice(10, 20), slice(20, 30), slice(15, 25))
LPS = Grid(SHAPE, np.diag([-1.0, -1, 1, 1]))
NAMES = {m: f"DOE_JANE_MRN12345_{m}.nii.gz" for m in Modality}
Files = list[tuple[str, bytes, str]]


@dataclass(frozen=True)
class Download:
    """What one button gives."""

    title: str
    name: str
    content: bytes


def bright_is_enhancing(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    bright = tensor.mean(axis=-1, keepdims=True) > 0.9
    return np.repeat(bright, len(Region), axis=-1).astype(np.float32)


def network(run: Callable[..., Any] = bright_is_enhancing) -> Network:
    return Network(
        run, window=(48, 56, 40), model_id="fake", weights_sha256="0" * 64, runtime="by hand"
    )


def named_scan(modality: Modality) -> bytes:
    """A head whose file says in every free field, extension and gzip header who it is."""
    rng = np.random.default_rng(list(Modality).index(modality))
    values = np.zeros(SHAPE, np.uint8)
    inner = tuple(slice(4, n - 4) for n in SHAPE)
    values[inner] = rng.integers(60, 120, values[inner].shape)
    values[BOX] = 250
    image = nib.Nifti1Image.from_bytes(gzip.decompress(write_labels(values, LPS)))
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = CANARY[:16]  # the length of the shortest
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", CANARY))
    packed = io.BytesIO()
    with gzip.GzipFile(NAMES[modality], "wb", fileobj=packed, mtime=0) as file:
        file.write(image.to_bytes())
    return packed.getvalue()


def four_named_files() -> Files:
    return [(NAMES[m], named_scan(m), "application/gzip") for m in Modality]


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[Download]:
    """Press every download button as soon as it is drawn."""
    pressed: list[Download] = []

    def press(title: str, data: Any, name: str, *_: Any, **__: Any) -> None:
        pressed.append(Download(title, name, data() if callable(data) else data))

    monkeypatch.setattr(st, "download_button", press)
    return pressed


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    monkeypatch.setattr(engine_module, "load_network", network)
    st.cache_resource.clear()
    yield AppTest.from_file(ROOT / "app.py", default_timeout=60).run()
    st.cache_resource.clear()


def segmented(app: AppTest, files: Files) -> AppTest:
    app.file_uploader[0].set_value(files)
    app.run()
    for box in app.checkbox:
        box.check()
    app.run()
    app.button(key="segment").click().run()
    deadline = time.monotonic() + 60
    while not (app.metric or app.error or app.exception):
        assert time.monotonic() < deadline
        time.sleep(0.25)
        app.run()
    return app


def unpacked(content: bytes) -> bytes:
    """The content with everything in it that is compressed, written out behind it."""
    inside = [content]
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside += [n.encode() + unpacked(archive.read(n)) for n in archive.namelist()]
    elif content.startswith(b"\x1f\x8b"):
        inside.append(gzip.decompress(content))
    else:  # PDF streams and PNG text chunks
        for start in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", content):
            try:
                inside.append(zlib.decompressobj().decompress(content[start.start() :], 2**22))
            except zlib.error:
                continue
    return b"\n".join(inside)


def on_screen(app: AppTest) -> bytes:
    """Everything the page sent to the browser."""
    protos = [getattr(node, "proto", None) for node in app._tree]
    return b"\n".join(proto.SerializeToString() for proto in protos if proto is not None)


def test_the_planted_name_is_really_in_the_files() -> None:
    for name, content, _ in four_named_files():
        assert TRACE.search(name.encode())
        assert TRACE.search(content[:100])  # gzip's own header
        assert gzip.decompress(content).count(b"DOE^JANE") == 5


def test_no_download_holds_the_patients_name(app: AppTest, downloads: list[Download]) -> None:
    segmented(app, four_named_files())
    assert not app.exception
    assert not app.error
    names = {re.sub(r"-[0-9a-f]{16}", "", d.name) for d in downloads}
    assert names == {
        *("segmentation.nii.gz", "segmentation.json"),
        *("volumes.csv", "slice.png", "report.pdf", "study.zip"),
    }
    for download in downloads:
        assert not TRACE.search(download.name.encode())
        assert not TRACE.search(unpacked(download.content)), download.title


def test_no_line_of_the_report_holds_the_patients_name(app: AppTest) -> None:
    # the PDF itself stores its letters as drawings
    visit = segmented(app, four_named_files()).session_state["visit"]
    result = Result(visit.intake.study, visit.segmentation, visit.intake.sha256, visit.mask)
    lines = [text.get_text() for text in report_figure(result, NO_NOTES).texts]
    assert len(lines) > 5
    assert not TRACE.search("\n".join(lines).encode())


def test_neither_page_nor_log_nor_stderr_names_the_patient(
    app: AppTest, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        segmented(app, four_named_files())
    assert len(on_screen(app)) > 1000
    assert not TRACE.search(on_screen(app))
    out, err = capfd.readouterr()
    assert not TRACE.search((caplog.text + out + err).encode())


def broken(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("how", [broken, gzip.compress, lambda _: b"GIF89a " + CANARY])
def test_the_refusal_of_a_broken_file_does_not_name_the_patient(
    app: AppTest, how: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    files = four_named_files()
    name, content, kind = files[-1]
    with caplog.at_level(logging.DEBUG):
        app.file_uploader[0].set_value([*files[:-1], (name, how(content), kind)])
        app.run()
    assert app.error
    told = [e.value for e in (*app.error, *app.caption, *app.markdown, *app.warning, *app.info)]
    assert not TRACE.search("\n".join([*told, caplog.text]).encode())


def test_neither_does_that_of_a_broken_archive(
    app: AppTest, caplog: pytest.LogCaptureFixture
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content, _ in four_named_files():
            archive.writestr(f"DOE_JANE/{name}", content)
    spoilt = bytearray(packed.getvalue())
    spoilt[len(spoilt) // 2] ^= 255
    with caplog.at_level(logging.DEBUG):
        app.file_uploader[0].set_value([("DOE_JANE.zip", bytes(spoilt), "application/zip")])
        app.run()
    assert app.error
    told = [e.value for e in (*app.error, *app.caption, *app.markdown)]
    assert not TRACE.search("\n".join([*told, caplog.text]).encode())


@pytest.mark.parametrize("at_once", [False, True], ids=["on the patient", "on the trial run"])
def test_a_network_that_fails_on_a_patient_does_not_name_him(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, at_once: bool
) -> None:
    def failing(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        if at_once or tensor.any():
            raise RuntimeError(f"could not handle {CANARY.decode()}")
        return np.zeros((*tensor.shape[:3], 3), np.float32)

    monkeypatch.setattr(engine_module, "load_network", lambda: network(failing))
    st.cache_resource.clear()
    with caplog.at_level(logging.DEBUG):
        segmented(app.run(), four_named_files())
    assert "could not run on this machine (RuntimeError)" in app.error[0].value
    assert not TRACE.search((app.error[0].value + caplog.text).encode())
