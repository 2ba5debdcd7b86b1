"""The self-test passes on a sound computer, and every check of it can fail: faults are planted."""

import gzip
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from model.bundle import joint_sha256, read_members
from model.predict import DEFAULT_MODEL, Network, segment
from pages.components import engine as engine_module
from pages.components import self_test as self_test_component
from utils import self_test
from utils.errors import ModelError
from utils.grid import Grid
from utils.nifti import write_labels
from utils.segmentation import Segmentation
from utils.self_test import RUNS, Check, Run, checks, turned
from utils.study import Modality, Study
from utils.volume import Volume

ROOT = Path(__file__).parents[1]
GRID = Grid((48, 56, 40), np.array([[-1, 0, 0, 23], [0, -1, 0, 30], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
NESTED = ((150, 2, 6), (200, 1, 11), (250, 4, 16))  # brightness, label, first voxel on each axis
WEIGHTS = "a" * 64


def phantom() -> tuple[Study, NDArray[np.uint8]]:
    """Three nested boxes of known brightness on the patient's right."""
    values = np.zeros(GRID.shape, np.float32)
    values[3:-3, 3:-3, 3:-3] = 60
    truth = np.zeros(GRID.shape, np.uint8)
    for brightness, label, first in NESTED:
        box = (slice(first // 2 + 2, 18 - first // 4), slice(first + 4, 32), slice(first, 26))
        values[box] = brightness
        truth[box] = label
    return Study({m: Volume(values.copy(), GRID) for m in Modality}), truth


def thresholds(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whole tumour, core and enhancement by brightness, of 60 to 250 scaled to 0 to 1."""
    mean = tensor.mean(axis=-1)
    return np.stack([mean > 0.3, mean > 0.6, mean > 0.9], axis=-1).astype(np.float32)


def network(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]] = thresholds, sha256: str = WEIGHTS
) -> Network:
    return Network(
        run, window=(48, 56, 40), model_id="fake", weights_sha256=sha256, runtime="by hand"
    )


def segmented(study: Study) -> list[Segmentation]:
    return [segment(turned(study, orientation), network()) for orientation in RUNS]


def judged(
    spoil: Callable[[int, Segmentation], Segmentation] = lambda _, s: s,
) -> dict[str, Check]:
    study, truth = phantom()
    runs = [Run.of(spoil(n, s)) for n, s in enumerate(segmented(study))]
    return {check.title: check for check in checks(study, truth, runs, WEIGHTS)}


def failed(found: dict[str, Check]) -> set[str]:
    return {title for title, check in found.items() if not check.passed}


def relabelled(s: Segmentation, labels: NDArray[np.uint8]) -> Segmentation:
    return Segmentation(np.ascontiguousarray(labels), s.probabilities, s.grid, s.provenance)


def test_a_sound_computer_passes_every_check() -> None:
    found = judged()
    assert failed(found) == set()
    assert len(found) == 9


def test_the_phantom_is_really_stored_in_another_order_and_lies_in_the_same_place() -> None:
    study, _ = phantom()
    for orientation in RUNS:
        other = turned(study, orientation)
        assert other.grid.orientation == orientation
        middles = []
        for one in (study, other):
            bright = np.argwhere(one.scans[Modality.T1].values == 250).mean(axis=0)
            middles.append(one.grid.affine @ np.append(bright, 1))
        np.testing.assert_allclose(*middles)


def test_a_mask_mirrored_in_one_axis_order_is_caught() -> None:
    def mirrored(n: int, s: Segmentation) -> Segmentation:
        return relabelled(s, s.labels[::-1]) if n == 2 else s

    found = judged(mirrored)
    assert failed(found) == {"Left stays left", "Every axis order gives the same mask"}
    assert "RAS left" in found["Left stays left"].figure


def test_a_mask_mirrored_in_every_order_is_caught_although_all_agree() -> None:
    def mirrored(_: int, s: Segmentation) -> Segmentation:
        along = next(n for n, letter in enumerate(s.grid.orientation) if letter in "LR")
        return relabelled(s, np.flip(s.labels, along))

    assert {"Left stays left", "The tumour is found"} <= failed(judged(mirrored))


def test_a_mask_one_voxel_off_in_one_order_is_caught() -> None:
    def shifted(n: int, s: Segmentation) -> Segmentation:
        return relabelled(s, np.roll(s.labels, 1, axis=0)) if n == 3 else s

    assert failed(judged(shifted)) == {"Every axis order gives the same mask"}


def test_a_second_run_that_differs_by_one_voxel_is_caught() -> None:
    def unsteady(n: int, s: Segmentation) -> Segmentation:
        labels = s.labels.copy()
        labels[tuple(np.argwhere(labels == 2)[0])] = 1 if n == 1 else 2
        return relabelled(s, labels)

    found = judged(unsteady)
    assert "Two runs, equal bytes" in failed(found)
    assert ", then " in found["Two runs, equal bytes"].figure


def test_a_label_that_is_lost_is_caught() -> None:
    def without_necrosis(_: int, s: Segmentation) -> Segmentation:
        return relabelled(s, np.where(s.labels == 1, 2, s.labels).astype(np.uint8))

    found = judged(without_necrosis)
    assert "Labels" in failed(found)
    assert "[0, 2, 4]" in found["Labels"].figure


def test_nothing_found_is_no_pass() -> None:
    found = judged(lambda _, s: relabelled(s, np.zeros_like(s.labels)))
    assert {"The tumour is found", "Left stays left", "Millilitres", "Labels"} <= failed(found)


def test_a_wrong_voxel_volume_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    original = self_test.region_volumes_ml

    def product_of_something(labels: NDArray[np.uint8], grid: Grid) -> dict[object, float]:
        return {region: 2 * ml for region, ml in original(labels, grid).items()}

    monkeypatch.setattr(self_test, "region_volumes_ml", product_of_something)
    assert failed(judged()) == {"Millilitres"}  # truth doubles too; the reopened file does not


def test_a_file_that_lies_elsewhere_or_holds_other_voxels_is_caught() -> None:
    study, truth = phantom()
    runs = [Run.of(s) for s in segmented(study)]
    moved = GRID.affine.copy()
    moved[0, 3] += 0.5
    elsewhere = write_labels(runs[0].labels, Grid(GRID.shape, moved))
    others = runs[0].labels.copy()
    others[tuple(np.argwhere(others == 4)[0])] = 1
    for file in (elsewhere, write_labels(others, GRID)):
        spoilt = [replace(runs[0], file=file), replace(runs[1], file=file), *runs[2:]]
        found = {c.title: c for c in checks(study, truth, spoilt, WEIGHTS)}
        assert "The mask's place, reopened" in failed(found)
    assert gzip.decompress(elsewhere) != gzip.decompress(runs[0].file)


def test_a_file_is_opened_once_though_three_checks_look_into_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[bytes] = []
    original = self_test.read_nifti

    def counted(file: bytes, *arguments: str, **options: bool) -> object:
        opened.append(file)
        return original(file, *arguments, **options)

    monkeypatch.setattr(self_test, "read_nifti", counted)
    judged()
    assert len(opened) == len(RUNS)


def test_other_weights_and_a_slow_computer_are_caught() -> None:
    study, truth = phantom()
    runs = [Run.of(s) for s in segmented(study)]
    other = {c.title: c for c in checks(study, truth, runs, "b" * 64)}
    assert failed(other) == {"The model's weights"}
    slow = [*runs[:-1], replace(runs[-1], seconds=121.0)]
    assert failed({c.title: c for c in checks(study, truth, slow, WEIGHTS)}) == {"Speed"}


def test_fewer_runs_are_not_judged() -> None:
    study, truth = phantom()
    with pytest.raises(ValueError, match="4 runs"):
        checks(study, truth, [], WEIGHTS)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    monkeypatch.setattr(self_test_component, "demo_study", phantom)
    st.cache_resource.clear()

    def tested(made: Callable[[], Network]) -> AppTest:
        monkeypatch.setattr(engine_module, "load_network", made)
        app = AppTest.from_file(ROOT / "app.py", default_timeout=60).run()
        app.switch_page("pages/views/self_test.py").run()
        app.button(key="start_test").click().run()
        for _ in range(200):
            if app.success or any("checks" in e.value or "test" in e.value for e in app.error):
                break
            time.sleep(0.1)
            app.run()
        assert not app.exception
        return app

    yield tested
    st.cache_resource.clear()


def test_one_click_ends_in_ticks(page: Callable[..., AppTest]) -> None:
    app = page(lambda: network(sha256=joint_sha256(read_members(DEFAULT_MODEL))))
    assert "All 9 checks passed" in app.success[0].value
    assert sum("check_circle" in m.value for m in app.markdown) == 9


def test_a_network_that_answers_at_random_gets_crosses(page: Callable[..., AppTest]) -> None:
    rng = np.random.default_rng(0)

    def random(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        return rng.random((*tensor.shape[:3], 3), np.float32)

    app = page(lambda: network(random))
    assert "checks failed" in app.error[0].value
    crosses = [m.value for m in app.markdown if "Failed" in m.value]
    assert any("Two runs" in c for c in crosses)
    assert any("weights" in c for c in crosses)
    assert not app.success


def test_a_model_that_does_not_load_ends_in_a_sentence(page: Callable[..., AppTest]) -> None:
    def broken() -> Network:
        raise ModelError("The model brats-unet is damaged. Restore the folder.")

    app = page(broken)
    (error,) = (e.value for e in app.error if "could not be finished" in e.value)
    assert "Restore the folder" in error
