"""The interactive viewer: a study is sent once, then the browser draws every slice itself."""

import itertools
import json
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal
from weakref import WeakKeyDictionary, ref

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.components.viewer.encode import (
    FIRST_WINDOWS,
    DisplayGrid,
    Payload,
    encode_bytes,
    encode_scan,
)
from pages.components.viewer.routes import FRONTEND, ROUTE, frontend_version, viewer_routes
from pages.components.viewer.store import STORE, ForgottenError
from utils.grid import Grid
from utils.labels import TUMOUR_LABELS, Label, Region
from utils.measure import label_volumes_ml
from utils.overlay import BOTH, ONLY_FIRST, ONLY_SECOND
from utils.plane import Plane
from utils.postprocess import THRESHOLD
from utils.segmentation import CERTAIN, Segmentation
from utils.study import Modality, Study
from utils.volume import Volume

__all__ = [
    "Comparison",
    "LookAt",
    "ViewerState",
    "forget",
    "forget_session",
    "prepare",
    "viewer",
    "viewer_routes",
]

Voxel = tuple[int, int, int]

_BESIDE = Modality.T1CE


_requests = itertools.count()
_legends: WeakKeyDictionary[Segmentation, dict[str, Any]] = WeakKeyDictionary()
_starts: WeakKeyDictionary[Segmentation, Voxel] = WeakKeyDictionary()


@dataclass(frozen=True)
class LookAt:
    """A request to show a place; carried out once, however often the page is rerun.

    Attributes
    ----------
    voxel : (i, j, k)
        On the study's own grid.
    plane : Plane or None
        The plane to show it in; None keeps what the reader has chosen.
    """

    voxel: Voxel
    plane: Plane | None = None
    request: str = field(default_factory=lambda: f"{os.getpid()}-{next(_requests)}")


@dataclass(frozen=True, eq=False)
class Comparison:
    """A second mask, drawn over the segmentation with the differences in colour.

    Attributes
    ----------
    title : str
        What it is, for the reader: "Earlier mask", "Reference".
    labels : (I, J, K) uint8 array
        Values of `utils.labels.Label`.
    grid : Grid
        The study's grid.
    names : (str, str, str), optional
        What to call voxels only in the segmentation, only in this mask, and in both, for instance
        "False positive", "Missed", "Found".
    beside : (str, Volume), optional
        What to call the T1ce scan it was drawn on, and that scan on the study's grid: shown beside
        the study's own, the two scrolled together.
    opens : str
        How it is drawn at first, ``"outline"`` or ``"differences"``.

    Raises
    ------
    ValueError
        If the mask or the scan does not fit the grid.
    """

    title: str
    labels: NDArray[np.uint8]
    grid: Grid
    names: tuple[str, str, str] | None = None
    beside: tuple[str, Volume] | None = None
    opens: Literal["outline", "differences"] = "outline"

    def __post_init__(self) -> None:
        if self.labels.shape != self.grid.shape:
            raise ValueError(f"labels {self.labels.shape} do not fit the grid {self.grid.shape}")
        if self.beside and self.beside[1].grid.displacement_mm(self.grid) > 0:
            raise ValueError(f"{self.beside[0]} does not lie on the study's grid")


@dataclass(frozen=True)
class ViewerState:
    """What the reader was looking at when the viewer last came to rest.

    Attributes
    ----------
    plane : Plane
        The plane the reader works in.
    voxel : (i, j, k)
        The cross-hair, on the study's own grid.
    modality : Modality
        The scan shown.
    """

    plane: Plane
    voxel: Voxel
    modality: Modality


def viewer(
    study: Study,
    segmentation: Segmentation | None,
    *,
    key: str,
    look_at: LookAt | None = None,
    comparison: Comparison | None = None,
) -> ViewerState:
    """Show a study like a radiology workstation.

    Parameters
    ----------
    study : Study
        Shown as long as this object lives; hand over the same object on every rerun.
    segmentation : Segmentation or None
        Drawn on top; None while there is none yet.
    key : str
        The component's own key in the session state; settings are kept by it across pages.
    look_at : LookAt, optional
        Sends the reader to a voxel.
    comparison : Comparison, optional
        An earlier mask or a reference; the same object on every rerun.

    Returns
    -------
    ViewerState
        Reported when the reader pauses, never while slices are scrolled.
    """
    display = DisplayGrid.of(study.grid)
    start = _start(segmentation, display)
    data = {
        "code": f"{ROUTE}/code/{_code_version()}/",
        "volumes": f"{ROUTE}/volume/",
        "key": key,
        "grid": _grid_data(display),
        "start": start,
        "segmentation": _segmentation_data(segmentation),  # before the scans: it is small
        "comparison": _comparison_data(comparison),
        "scans": _scan_data(study),
        "lookAt": _look_at_data(look_at, display),
    }
    # as text in a dict: of anything else Streamlit asks whether it is a table, and imports pandas
    # (2 s, before the first image) to find out
    result = _component()(key=key, data={"view": json.dumps(data)}, on_view_change=_nothing)
    return _state(result.get("view"), display, start)


def prepare(study: Study) -> None:
    """Start to encode a study's scans in the background, before the viewer is on screen."""
    _publish_scans(study)
    STORE.encode_all(_session(), study)


def forget(patient_data: Study | Segmentation | Comparison) -> None:
    """Kill the addresses of a study or a mask at once; its open viewers fall silent."""
    STORE.forget(patient_data)
    if isinstance(patient_data, Segmentation):
        STORE.forget(patient_data.probabilities)


def forget_session() -> None:
    """Kill every address of the session that runs this script."""
    STORE.forget_session(_session())


def _component() -> Any:
    # registering is cheap, and Streamlit forgets components when its runtime is replaced (AppTest)
    return st.components.v2.component(
        "brain_tumour_viewer", html="", js=(FRONTEND / "loader.js").read_text(encoding="utf-8")
    )


@cache
def _code_version() -> str:
    return frontend_version()


def _nothing() -> None:
    """Exists because a component's state needs a callback to be listed in its result."""


def _session() -> str:
    context = get_script_run_ctx()
    if context is None:
        raise RuntimeError("the viewer belongs to a Streamlit session; run it with `streamlit run`")
    return context.session_id


def _publish_scans(study: Study) -> Mapping[str, str]:
    encoders = {
        m.value: partial(encode_scan, scan, FIRST_WINDOWS[m]) for m, scan in study.scans.items()
    }
    return STORE.publish(_session(), study, encoders)


def _grid_data(display: DisplayGrid) -> dict[str, Any]:
    return {
        "shape": display.grid.shape,
        "spacing": display.grid.spacing_mm,
        "affine": display.grid.affine.tolist(),
        "toStudy": display.to_study.tolist(),
        "voxelMl": display.grid.voxel_volume_ml,
    }


def _scan_data(study: Study) -> list[dict[str, str]]:
    tokens = _publish_scans(study)
    return [{"id": m.value, "title": m.title, "token": tokens[m.value]} for m in Modality]


def _segmentation_data(segmentation: Segmentation | None) -> dict[str, Any] | None:
    if segmentation is None:
        return None
    encode = partial(encode_bytes, segmentation.labels, segmentation.grid)
    tokens = _publish_probabilities(segmentation)
    return {
        "token": STORE.publish(_session(), segmentation, {"labels": encode})["labels"],
        **_legend(segmentation),
        "threshold": THRESHOLD * CERTAIN,  # of the stored probabilities
        "corrected": bool(segmentation.provenance.corrections),
        "probabilities": [{"title": r.title, "token": tokens[r.name]} for r in Region],
    }


def _publish_probabilities(segmentation: Segmentation) -> Mapping[str, str]:
    """Give them addresses that outlive corrections, which change nothing but the labels.

    They are their own owner: what encodes them must not keep them alive.
    """
    held = ref(segmentation.probabilities)
    encoders = {
        region.name: partial(_encode_probability, held, index, segmentation.grid)
        for index, region in enumerate(Region)
    }
    owner = segmentation.probabilities
    return STORE.publish(_session(), owner, encoders, first_at_once=False)


def _encode_probability(held: "ref[NDArray[np.uint8]]", index: int, grid: Grid) -> Payload:
    probabilities = held()
    if probabilities is None:
        raise ForgottenError("the probabilities are gone")
    return encode_bytes(probabilities[..., index], grid)


def _comparison_data(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    encoders = {"labels": partial(encode_bytes, comparison.labels, comparison.grid)}
    if comparison.beside:
        encoders["beside"] = partial(encode_scan, comparison.beside[1], FIRST_WINDOWS[_BESIDE])
    tokens = STORE.publish(_session(), comparison, encoders)
    names = comparison.names or ("Only here", f"Only in: {comparison.title}", "In both")
    colours = (ONLY_FIRST, ONLY_SECOND, BOTH)
    differences = [
        {"code": code, "title": name, "colour": _hex(colour)}  # the code: bit 0 here, bit 1 there
        for code, (name, colour) in enumerate(zip(names, colours, strict=True), 1)
    ]
    return {
        "title": comparison.title,
        "token": tokens["labels"],
        "opens": comparison.opens,
        "differences": differences,
        "beside": comparison.beside
        and {
            "id": "beside",
            "title": comparison.beside[0],
            "token": tokens["beside"],
            "like": list(Modality).index(_BESIDE),  # the study's scan to put next to it
        },
    }


def _legend(segmentation: Segmentation) -> dict[str, Any]:
    if segmentation not in _legends:
        ml = label_volumes_ml(segmentation.labels, segmentation.grid)
        _legends[segmentation] = {
            "labels": [_layer(label.name, label.title, {label}, ml) for label in TUMOUR_LABELS],
            "regions": [_layer(r.name, r.title, r.value, ml) for r in Region],
        }
    return _legends[segmentation]


def _layer(name: str, title: str, members: Set[Label], ml: Mapping[Label, float]) -> dict[str, Any]:
    """Describe a line of the legend; a region wears the colour of its rim, not of what it holds."""
    rim = next(label for label in (Label.ED, Label.NCR_NET, Label.ET) if label in members)
    return {
        "id": name,
        "title": title,
        "colour": _hex(rim.colour),
        "members": sorted(int(label) for label in members),
        "ml": sum(ml[label] for label in members),  # rounded once, where it is shown
    }


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _start(segmentation: Segmentation | None, display: DisplayGrid) -> Voxel:
    """Choose the displayed voxel to open at: amid the largest axial slice of tumour."""
    if segmentation is None or not segmentation.labels.any():
        i, j, k = display.grid.shape
        return i // 2, j // 2, k // 2
    if segmentation not in _starts:
        axis = Plane.AXIAL.array_axis(segmentation.grid)
        slices = np.moveaxis(segmentation.labels, axis, 0)
        index = int(np.count_nonzero(slices, axis=(1, 2)).argmax())
        found = np.argwhere(slices[index])
        nearest = found[((found - found.mean(axis=0)) ** 2).sum(axis=1).argmin()].tolist()
        nearest.insert(axis, index)
        _starts[segmentation] = display.display_voxel((nearest[0], nearest[1], nearest[2]))
    return _starts[segmentation]


def _look_at_data(look_at: LookAt | None, display: DisplayGrid) -> dict[str, Any] | None:
    if look_at is None:
        return None
    return {
        "request": look_at.request,
        "voxel": _inside(display.display_voxel(look_at.voxel), display.grid.shape),
        "plane": look_at.plane.name.lower() if look_at.plane else None,
    }


def _state(reported: Any, display: DisplayGrid, start: Voxel) -> ViewerState:
    """Take the browser's report if this viewer can have sent it; `start` before there is one."""
    try:
        x, y, z = (int(n) for n in reported["voxel"])
        return ViewerState(
            Plane[str(reported["plane"]).upper()],
            display.study_voxel(_inside((x, y, z), display.grid.shape)),
            Modality(reported["modality"]),
        )
    except (TypeError, KeyError, ValueError, OverflowError):
        return ViewerState(Plane.AXIAL, display.study_voxel(start), Modality.FLAIR)


def _inside(voxel: Voxel, shape: Voxel) -> Voxel:
    x, y, z = (min(max(n, 0), size - 1) for n, size in zip(voxel, shape, strict=True))
    return x, y, z
