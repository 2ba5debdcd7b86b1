import gzip
from itertools import permutations, product

import numpy as np
import pytest

from pages.components.viewer.encode import (
    STORED_STEPS,
    DisplayGrid,
    Payload,
    encode_bytes,
    encode_scan,
    window_of,
)
from utils.grid import Grid
from utils.volume import Volume

SIGNED_PERMUTATIONS = [
    np.diag([*signs, 1.0])[:, [*order, 3]]
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]


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
    payload = encode_scan(Volume(values, Grid(values.shape, np.eye(4))))
    assert (payload.header["scale"], payload.header["offset"]) == (1.0, 0.0)
    assert voxels(payload, values.shape).ravel().tolist() == [-7, 0, 32767]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.5, 1e6), (40000.0, 40001.0)])
def test_other_numbers_come_back_to_within_half_a_step(low: float, high: float) -> None:
    values = np.random.default_rng(0).uniform(low, high, (6, 5, 4)).astype(np.float32)
    payload = encode_scan(Volume(values, Grid(values.shape, np.eye(4))))
    scale, offset = payload.header["scale"], payload.header["offset"]
    restored = voxels(payload, values.shape) * scale + offset
    assert np.abs(restored - values).max() <= 0.51 * (high - low) / STORED_STEPS + 1e-3


def test_a_constant_scan_is_encoded_and_shown_mid_grey() -> None:
    values = np.full((3, 3, 3), 0.5, np.float32)
    payload = encode_scan(Volume(values, Grid(values.shape, np.eye(4))))
    low, high = payload.header["window"]
    assert (low + high) / 2 == 0.5
    assert low < high


def test_the_first_window_ignores_background_and_outliers() -> None:
    values = np.zeros((40, 40, 40), np.float32)
    values[10:30, 10:30, 10:30] = np.linspace(100, 200, 8000).reshape(20, 20, 20)
    values[15, 15, 15] = 1e6
    low, high = window_of(values)
    assert 100 <= low < 110
    assert 190 < high <= 201


def test_the_tissue_box_runs_along_r_a_s() -> None:
    values = np.zeros((10, 10, 10), np.float32)
    values[2:4, 5:9, 1:3] = 1
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    payload = encode_scan(Volume(values, Grid(values.shape, lps)))
    assert payload.header["box"] == ((6, 7), (1, 4), (1, 2))
