"""The way in: files dropped at once or slot by slot; sorted and checked before anything runs."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.components.engine import engine
from pages.components.session import memo, open_visit, prune_memo, recall, upload_generation
from utils.errors import UserError
from utils.intake import (
    Intake,
    Light,
    Reading,
    Review,
    assign,
    display_name,
    read_scan,
    review,
    unzip,
)
from utils.notice import Notice
from utils.phantom import demo_study
from utils.render import thumbnail
from utils.study import Modality

LIGHTS = {
    Light.GREEN: ":green[:material/check_circle:] Fine",
    Light.AMBER: ":orange[:material/warning:] Please look",
    Light.RED: ":red[:material/cancel:] Refused",
}
ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class _File:
    """One file that was uploaded, alone or inside a ZIP."""

    id: str
    name: str
    data: bytes


def upload_form() -> None:
    """Upload, sort, check; opens the study and starts the network when the reader says so."""
    st.subheader("Segment a glioma on four MRI scans")
    st.caption("The scans stay in the memory of the computer that runs this app.")
    drop, demo = st.columns([3, 1], gap="large")
    with drop:
        files = _dropped()
    with demo:
        st.markdown("**No scans at hand?**")
        st.button(
            "Demo study",
            key="demo",
            icon=":material/play_circle:",
            on_click=_start_demo,
            help="A synthetic head whose tumour is known exactly.",
            width="stretch",
        )
    chosen = _slots(files)
    if chosen:
        _checked(chosen)
    prune_memo()


def _dropped() -> list[_File]:
    uploads = st.file_uploader(
        "Drop the four scans here, or one ZIP of them (FLAIR, T1, T1ce, T2; NIfTI, co-registered, "
        "skull-stripped)",
        accept_multiple_files=True,
        key=f"drop_{upload_generation()}",
    )
    files: list[_File] = []
    for upload in uploads:
        try:
            files += memo(("files", upload.file_id), partial(_files_of, upload))
        except UserError as error:
            st.error(str(error))
    return files


def _files_of(upload: UploadedFile) -> list[_File]:
    """The files of one upload: itself, or what its archive holds."""
    data = upload.getvalue()
    if not data.startswith(ZIP_MAGIC):
        return [_File(upload.file_id, upload.name, data)]
    inside = unzip(data, upload.name)
    return [_File(f"{upload.file_id}/{n}", name, d) for n, (name, d) in enumerate(inside)]


def _slots(files: Sequence[_File]) -> dict[Modality, _File]:
    """Which file is which scan: by name, corrected by hand, or uploaded into its slot."""
    with st.expander("Or choose each scan separately"):
        separate = {
            modality: column.file_uploader(
                modality.title, key=f"slot_{modality}_{upload_generation()}"
            )
            for modality, column in zip(Modality, st.columns(4), strict=True)
        }
    chosen = _sorted_by_hand(files) if files else {}
    for modality, upload in separate.items():
        if upload is not None:
            chosen[modality] = _File(upload.file_id, upload.name, upload.getvalue())
    return chosen


def _sorted_by_hand(files: Sequence[_File]) -> dict[Modality, _File]:
    """A choice box a slot, preset from the names where they are clear."""
    assigned = assign([f.name for f in files])
    shown = [display_name(f.name) for f in files]  # Streamlit keeps what a widget refers to
    numbers = {f.name: n for n, f in enumerate(files)}
    chosen = {}
    for modality, column in zip(Modality, st.columns(4), strict=True):
        number = column.selectbox(
            f"{modality.title} is",
            range(len(files)),
            index=numbers.get(assigned.get(modality, "")),
            format_func=shown.__getitem__,
            placeholder="choose the file",
            # other files need another box, or the old choice would stick to a new patient's file
            key=f"choice_{modality}_{hash(tuple(f.id for f in files))}",
        )
        if number is not None:
            chosen[modality] = files[number]
    return chosen


def _checked(chosen: Mapping[Modality, _File]) -> None:
    """Traffic lights, and the button if nothing is red."""
    with st.spinner("Checking the scans …"):
        readings = {
            modality: memo(
                ("reading", modality, file.id), partial(read_scan, modality, file.name, file.data)
            )
            for modality, file in chosen.items()
        }
        identity = ("review", *(f"{m}:{f.id}" for m, f in chosen.items()))
        found = memo(identity, lambda: review(readings))
    _show_lights(found)
    try:
        intake = found.intake()
    except UserError as error:
        if len(chosen) == len(Modality):
            st.error(str(error))
        else:
            missing = [m.title for m in Modality if m not in chosen]
            st.info(f"Still missing: {', '.join(missing)}.")
        return
    doubts = [notice for notice in intake.notices if notice.consent]
    agreed = not doubts or st.checkbox(
        "I have read the amber remarks and want to go on. They will stand in every result.",
        key=f"consent_{hash(identity)}",
    )
    st.button(
        "Segment",
        key="segment",
        type="primary",
        icon=":material/neurology:",
        disabled=not agreed,
        on_click=_start,
        args=(identity,),
    )


def _show_lights(found: Review) -> None:
    for modality, column in zip(Modality, st.columns(4), strict=True):
        reading = found.readings.get(modality)
        if reading is None:
            continue
        column.markdown(f"**{modality.title}** {LIGHTS[found.light(modality)]}")
        if reading.volume is not None:
            column.image(_thumbnail(reading), width=150)
    told: dict[str, list[str]] = {}
    for modality in found.readings:
        for reason in found.reasons(modality):
            told.setdefault(reason, []).append(modality.title)
    for reason in told:
        st.caption(f":material/info: {reason}")


def _thumbnail(reading: Reading) -> bytes:
    volume = reading.volume
    if volume is None:
        raise ValueError("a scan that was refused has no picture")
    picture: bytes = memo(
        ("thumbnail", reading.modality, reading.sha256), lambda: thumbnail(volume)
    )
    return picture


def _start(identity: Hashable) -> None:
    """Open the study; that the reader went on in spite of a doubt stands in every output."""
    found: Review | None = recall(identity)
    if found is None:  # a second click, while the first one was at work
        return
    intake = found.intake()
    notices = tuple(
        replace(n, text=f"{n.text} The reader chose to go on.") if n.consent else n
        for n in intake.notices
    )
    visit = open_visit(replace(intake, notices=notices))
    visit.job = engine().submit(intake.study, visit.intake.notices)


def _start_demo() -> None:
    visit = open_visit(_demo(), synthetic=True)
    visit.job = engine().submit(visit.intake.study, visit.intake.notices)


@st.cache_resource(show_spinner="Making the demo study …")
def _demo() -> Intake:
    """The demo study; shared by all sessions, for it is nobody's."""
    study, _ = demo_study()
    text = "The scans are synthetic: they show no patient."
    # there are no files to hash; the voxels stand in for them
    hashes = {m: sha256(scan.values.tobytes()).hexdigest() for m, scan in study.scans.items()}
    return Intake(study, (Notice("synthetic", "study", text),), hashes)
