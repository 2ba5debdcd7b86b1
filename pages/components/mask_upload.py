"""A mask, or the scan of an earlier visit, uploaded on its own: read, named, kept until erased."""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.components.session import keep, recall, upload_generation
from utils.burden import Burden, burden
from utils.errors import UnconfirmedUnitError, UserError
from utils.filename import label_of
from utils.grid import Grid
from utils.intake import Reading, read_scan
from utils.label_map import CODING_TITLES, LabelMap, coding_text, read_label_map
from utils.labels import LabelCoding
from utils.study import Modality
from utils.volume import Volume


@dataclass(frozen=True, eq=False)
class UploadedMask:
    """A label map in the coding that the reader agreed to."""

    label_map: LabelMap
    coding: LabelCoding

    @property
    def grid(self) -> Grid:
        """Where it lies."""
        return self.label_map.grid

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(I, J, K) values of `utils.labels.Label`, read-only."""
        labels = self.label_map.labels(self.coding)
        labels.flags.writeable = False
        return labels

    @cached_property
    def burden(self) -> Burden:
        """What it measures on its own voxels."""
        return burden(self.labels, self.grid)


@dataclass
class _Slot:
    """What one upload field holds between reruns, also while another page is open."""

    number: int = 0  # of the upload widget: a new one is empty
    label_map: LabelMap | None = None
    mask: UploadedMask | None = None
    reading: Reading | None = None


def mask_upload(title: str, key: str) -> UploadedMask | None:
    """Ask for a mask and for its coding.

    Parameters
    ----------
    title : str
        What the mask is, for the reader: "Reference mask".
    key : str
        Of this field; the mask is kept by it until it is removed or everything is erased.

    Returns
    -------
    UploadedMask or None
        The same object on every rerun; None until there is a mask whose coding is known.
    """
    slot = _slot(key)
    if slot.label_map is None:
        upload = st.file_uploader(
            title, key=_widget(key, slot), help="NIfTI label map (.nii or .nii.gz)"
        )
        if upload is None:
            return None
        try:
            subject = f"{title} ({label_of(upload.name)})"
            slot.label_map = _read_mask(upload.getvalue(), subject, key)
        except UserError as error:
            st.error(str(error))
            return None
        slot.number += 1
        st.rerun()
    _summary(title, key, slot.label_map.grid)
    for notice in slot.label_map.notices:
        st.caption(f":material/info: {notice.text}")
    coding = _coding(key, slot)
    if coding is None:
        slot.mask = None
    elif slot.mask is None or slot.mask.coding is not coding:
        slot.mask = UploadedMask(slot.label_map, coding)
    return slot.mask


def scan_upload(title: str, key: str) -> Volume | None:
    """Ask for a T1ce scan; the same object on every rerun, None until there is one."""
    slot = _slot(key)
    if slot.reading is None:
        upload = st.file_uploader(title, key=_widget(key, slot), help="NIfTI, skull-stripped")
        if upload is None:
            return None
        with st.spinner("Checking the scan …"):
            judge = partial(read_scan, Modality.T1CE, upload.name, upload.getvalue())
            reading = judge()
        if isinstance(reading.error, UnconfirmedUnitError) and _millimetres(key):
            reading = judge(millimetres=True)
        if reading.volume is None:
            st.error(str(reading.error))
            return None
        slot.reading = reading
        slot.number += 1
        st.rerun()
    reading = slot.reading
    if reading.volume is None:
        raise ValueError("a scan that was refused is not kept")
    _summary(title, key, reading.volume.grid)
    for notice in reading.notices:
        if notice.consent:
            st.warning(notice.text, icon=":material/warning:")
    return reading.volume


def _read_mask(data: bytes, subject: str, key: str) -> LabelMap:
    try:
        return read_label_map(data, subject)
    except UnconfirmedUnitError:
        if not _millimetres(key):
            raise
        return read_label_map(data, subject, millimetres=True)


def _millimetres(key: str) -> bool:
    """Ask about the unit that the header states."""
    return st.checkbox(
        "I confirm that the numbers in its header are millimetres.", key=f"millimetres_{key}"
    )


def _coding(key: str, slot: _Slot) -> LabelCoding | None:
    """The coding: preset where the numbers leave no doubt, shown and changeable always."""
    label_map = slot.label_map
    if label_map is None:
        raise ValueError("there is no mask whose coding could be chosen")
    preset = slot.mask.coding if slot.mask else label_map.safe_coding
    codings = label_map.codings
    coding = st.selectbox(
        "Its numbers are those of",
        codings,
        index=None if preset is None else codings.index(preset),
        format_func=CODING_TITLES.__getitem__,
        placeholder="choose where the mask comes from",
        key=f"coding_{key}_{slot.number}",
    )
    present = ", ".join(map(str, sorted(label_map.present))) or "none"
    if coding is None:
        meanings = "\n".join(f"- {CODING_TITLES[c]}: {coding_text(c)}" for c in codings)
        st.info(f"Its numbers ({present}) do not say which coding it is. Choose:\n\n{meanings}")
        return None
    st.caption(f"Found {present}. Read as: {coding_text(coding)}.")
    return coding


def _summary(title: str, key: str, grid: Grid) -> None:
    about, remove = st.columns([3, 1], vertical_alignment="center")
    voxels = " x ".join(map(str, grid.shape))
    about.markdown(f":green[:material/check_circle:] **{title}** {voxels}, {grid.orientation}")
    remove.button("Remove", key=f"remove_{key}", on_click=_remove, args=(key,), width="stretch")


def _remove(key: str) -> None:
    slot: _Slot | None = recall(_name(key))
    if slot is not None:
        slot.label_map = slot.mask = slot.reading = None


def _slot(key: str) -> _Slot:
    return keep(_name(key), _Slot)


def _name(key: str) -> tuple[str, str]:
    return "uploaded", key


def _widget(key: str, slot: _Slot) -> str:
    return f"upload_{key}_{upload_generation()}_{slot.number}"
