import gzip
from itertools import permutations, product

import numpy as np
import pytest

from pages.components.viewer.encode import (
    FIRST_WINDOWS,
    STORED_STEPS,
    DisplayGrid,
    Payload,
    WindowRule,
    encode_bytes,
    encode_scan,
    window_of,
)
from utils.grid import Grid
from utils.phantom import demo_study
from utils.study import Modality
from utils.volume import Volume

SIGNED_PERMUTATIONS = [
    np.diag([*signs, 1.0])[:, [*order, 3]]
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]


PLAIN = WindowRule()


def voxels(payload: Payload, shape: tuple[int, int, int]) -> np.ndarray:
    return np.frombuffer(gzip.decompress(payload.body), payload.header["dtype"]).reshape(
        shape, order="F"
    )


@pytest.mark.parametrize("affine", SIGNED_PERMUTATIONS)
def test_a_landmark_arrives_at_its_place_in_the_body_from_all_48_orientations(
    affine: np.ndarray,
) -> None:
    grid = Grid((5, 6, 7), affine)
    labels = np.zeros(grid.shape, np.uint8)
    labels[1, 2, 3] = 4
    display = DisplayGrid.of(grid)

    x, y, z = map(int, np.argwhere(voxels(encode_bytes(labels, grid), display.grid.shape))[0])

    assert display.grid.orientation == "RAS"
    assert display.study_voxel((x, y, z)) == (1, 2, 3)
    assert display.display_voxel((1, 2, 3)) == (x, y, z)
    np.testing.assert_allclose(display.grid.affine @ (x, y, z, 1), affine @ (1, 2, 3, 1))


def test_x_runs_fastest_on_the_wire() -> None:
    grid = Grid((2, 3, 2), np.eye(4))
    labels = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    assert gzip.decompress(encode_bytes(labels, grid).body)[:4] == bytes([0, 6, 2, 8])


def test_whole_numbers_travel_unchanged() -> None:
    values = np.array([[[-7, 0, 32767]]], np.float32)
    payload = encode_scan(Volume(values, Grid(values.shape, np.eye(4))), PLAIN)
    assert (payload.header["scale"], payload.header["offset"]) == (1.0, 0.0)
    assert voxels(payload, values.shape).ravel().tolist() == [-7, 0, 32767]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.5, 1e6), (40000.0, 40001.0)])
def test_other_numbers_come_back_to_within_half_a_step(low: float, high: float) -> None:
    values = np.random.default_rng(0).uniform(low, high, (6, 5, 4)).astype(np.float32)
    payload = encode_scan(Volume(values, Grid(values.shape, np.eye(4))), PLAIN)
    scale, offset = payload.header["scale"], payload.header["offset"]
    restored = voxels(payload, values.shape) * scale + offset
    assert np.abs(restored - values).max() <= 0.51 * (high - low) / STORED_STEPS + 1e-3


def test_a_constant_scan_is_encoded_and_shown_mid_grey() -> None:
    values = np.full((3, 3, 3), 0.5, np.float32)
    payload = encode_scan(Volume(values, Grid(values.shape, np.eye(4))), PLAIN)
    low, high = payload.header["window"]
    assert (low + high) / 2 == 0.5
    assert low < high


def test_the_first_window_ignores_background_and_outliers() -> None:
    values = np.zeros((40, 40, 40), np.float32)
    values[10:30, 10:30, 10:30] = np.linspace(100, 200, 8000).reshape(20, 20, 20)
    values[15, 15, 15] = 1e6
    low, high = window_of(values, PLAIN)
    assert 100 <= low < 110
    assert 190 < high <= 201


def test_a_window_has_the_room_above_that_its_rule_asks_for() -> None:
    values = np.arange(1, 101, dtype=np.float32).reshape(4, 5, 5)  # percentile p lies at 1 + 0.99 p
    low, high = window_of(values, WindowRule(10.0, 90.0, headroom=0.25))
    assert low == pytest.approx(10.9)
    assert high == pytest.approx(90.1 + 0.25 * (90.1 - 10.9))


def test_t1_shows_fluid_dark_and_the_two_matters_apart_and_unsaturated() -> None:
    # a head with the usual shares: 12 % fluid, 45 % grey matter, 43 % white matter, some vessels
    rng = np.random.default_rng(0)
    tissues = {"fluid": (200, 5400), "grey": (430, 20250), "white": (600, 19350)}
    greys = [rng.normal(mean, 20, count) for mean, count in tissues.values()]
    head = np.concatenate([*greys, rng.uniform(900, 2000, 150)])
    values = np.zeros((60, 60, 30), np.float32)
    values.ravel()[: head.size] = rng.permutation(head)
    low, high = window_of(values, FIRST_WINDOWS[Modality.T1])
    shown = {name: (mean - low) / (high - low) for name, (mean, _) in tissues.items()}
    assert shown["fluid"] < 0.1
    assert 0.35 < shown["grey"] < 0.55
    assert 0.7 < shown["white"] < 0.85


def test_no_scan_of_the_demo_study_opens_pale_or_black() -> None:
    study, _ = demo_study()
    for modality, scan in study.scans.items():
        low, high = window_of(scan.values, FIRST_WINDOWS[modality])
        shown = np.clip((scan.values[scan.values != 0] - low) / (high - low), 0, 1)
        assert 0.18 < np.median(shown) < 0.6, modality  # fluid makes T2's other tissues dark
        assert (shown == 1).mean() < 0.025, modality
        assert (shown == 0).mean() < 0.06, modality


def test_the_tissue_box_runs_along_r_a_s() -> None:
    values = np.zeros((10, 10, 10), np.float32)
    values[2:4, 5:9, 1:3] = 1
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    payload = encode_scan(Volume(values, Grid(values.shape, lps)), PLAIN)
    assert payload.header["box"] == ((6, 7), (1, 4), (1, 2))
