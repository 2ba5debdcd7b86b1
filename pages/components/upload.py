"""The way in: files dropped at once or slot by slot; sorted and checked before anything runs."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.components.engine import engine
from pages.components.session import memo, open_visit, prune_memo, recall, upload_generation
from utils.errors import MissingModalityError, UnconfirmedUnitError, UserError
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


@dataclass
class _Basket:
    """The files of one upload field, which itself forgets them when another page is opened.

    Attributes
    ----------
    files : list of UploadedFile
        All that were put into the field and not taken out again.
    in_field : set of str
        Those of them, by id, that the field itself still shows.
    touched : bool
        Whether the reader has just put something in or taken something out.
    """

    files: list[UploadedFile] = field(default_factory=list)
    in_field: set[str] = field(default_factory=set)
    touched: bool = False

    def update(self, shown: Sequence[UploadedFile]) -> None:
        """Follow what the field shows; that it is empty means nothing unless it was touched."""
        shown_ids = {upload.file_id for upload in shown}
        if self.touched:
            taken_out = self.in_field - shown_ids
            kept = [f for f in self.files if f.file_id not in taken_out | shown_ids]
            self.files = [*kept, *shown]
        self.in_field, self.touched = shown_ids, False

    @property
    def only_here(self) -> list[UploadedFile]:
        """Files that the field does not show."""
        return [f for f in self.files if f.file_id not in self.in_field]


def _uploads(label: str, key: str, *, many: bool) -> list[UploadedFile]:
    """An upload field whose files survive a look at another page."""
    basket = memo(("basket", key), _Basket)
    shown = st.file_uploader(
        label, accept_multiple_files=many, key=key, on_change=_touched, args=(key,)
    )
    basket.update(shown if isinstance(shown, list) else [shown] if shown else [])
    if not many:
        basket.files = basket.files[-1:]
    if basket.only_here:
        names = ", ".join(display_name(f.name) for f in basket.only_here)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f":material/attach_file: Still here: {names}", width="content")
            st.button(
                "Remove",
                key=f"remove_{key}",
                type="tertiary",
                icon=":material/close:",
                on_click=_forget_kept,
                args=(key,),
            )
    return list(basket.files)


def _touched(key: str) -> None:
    basket: _Basket | None = recall(("basket", key))
    if basket is not None:
        basket.touched = True


def _forget_kept(key: str) -> None:
    basket: _Basket | None = recall(("basket", key))
    if basket is not None:
        basket.files = [f for f in basket.files if f.file_id in basket.in_field]


def _dropped() -> list[_File]:
    files: list[_File] = []
    for upload in _uploads(
        "Drop the four scans here, or one ZIP of them (FLAIR, T1, T1ce, T2; NIfTI, co-registered, "
        "skull-stripped)",
        f"drop_{upload_generation()}",
        many=True,
    ):
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
        separate: dict[Modality, UploadedFile] = {}
        for modality, column in zip(Modality, st.columns(4), strict=True):
            with column:
                key = f"slot_{modality}_{upload_generation()}"
                for upload in _uploads(modality.title, key, many=False):  # at most one
                    separate[modality] = upload
    chosen = _sorted_by_hand(files) if files else {}
    for modality, upload in separate.items():
        if modality in chosen:
            st.warning(
                f"{modality.title}: the file in its own field is used "
                f"({display_name(upload.name)}), not the one chosen above "
                f"({display_name(chosen[modality].name)}). Remove it there to use the other.",
                icon=":material/swap_horiz:",
            )
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
        readings = {modality: _reading(modality, file) for modality, file in chosen.items()}
        identity = (
            "review",
            *(f"{m}:{f.id}:{readings[m].volume is None}" for m, f in chosen.items()),
        )
        found = memo(identity, lambda: review(readings))
    _show_lights(found)
    if missing := [m.title for m in Modality if m not in chosen]:
        st.info(f"Still missing: {', '.join(missing)}.")
    if found.all_errors():
        return
    intake = found.intake()
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


def _reading(modality: Modality, file: _File) -> Reading:
    """What the gate says of a file; where only its unit is in doubt, the reader is asked."""
    judge = partial(read_scan, modality, file.name, file.data)
    reading: Reading = memo(("reading", modality, file.id), judge)
    if isinstance(reading.error, UnconfirmedUnitError) and st.checkbox(
        f"{modality.title}: I confirm that the numbers in its header are millimetres.",
        key=f"millimetres_{modality}_{file.id}",
    ):
        confirmed: Reading = memo(
            ("confirmed", modality, file.id), partial(judge, millimetres=True)
        )
        return confirmed
    return reading


def _show_lights(found: Review) -> None:
    for modality, column in zip(Modality, st.columns(4), strict=True):
        reading = found.readings.get(modality)
        if reading is None:
            continue
        column.markdown(f"**{modality.title}** {LIGHTS[found.light(modality)]}")
        if reading.volume is not None:
            column.image(_thumbnail(reading), width=150)
    for error in found.all_errors():
        if not isinstance(error, MissingModalityError):  # nothing is wrong with an unfinished form
            st.error(str(error))
    for text in dict.fromkeys(notice.text for notice in found.all_notices()):
        st.caption(f":material/info: {text}")


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
    visit = open_visit(found.intake().accepted())
    visit.job = engine().submit(visit.intake.study, visit.intake.notices)


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
