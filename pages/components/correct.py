"""Correct the mask: thresholds, lesions, holes; every number on the page follows."""

from collections.abc import Callable

import streamlit as st

from pages.components.session import Visit, current_visit, memo
from utils.correct import NO_EDITS, Edits, History, corrected
from utils.labels import Region
from utils.nifti import write_labels
from utils.postprocess import ENHANCING_ML, FOCUS_ML, SURE
from utils.segmentation import Segmentation

MOST_ML = 100.0


def follow(visit: Visit) -> Segmentation | None:
    """Bring the visit into line with its edits; what every page is about, if there is anything.

    Every page asks here: a click that changes the edits may be answered by another page.
    """
    segmentation, edits, edited = visit.segmentation, visit.edits, visit.edited
    if segmentation is None or edits == NO_EDITS:
        visit.edited = visit.edited_mask = None
        return segmentation
    visit.edited = memo(("edited", edits), lambda: corrected(segmentation, edits))
    if visit.edited is not edited:
        visit.edited_mask = None  # until this one has been written and verified
    return visit.edited


def write_edited_mask(visit: Visit) -> None:
    """Write what is shown as a file, and verify it, if it is not the model's own.

    Raises
    ------
    UserError
        If it cannot be read back; then there is no file.
    """
    edited = visit.edited
    if edited is not None:
        visit.edited_mask = memo(
            ("edited mask", visit.edits), lambda: write_labels(edited.labels, edited.grid)
        )


def corrections(visit: Visit) -> None:
    """Offer every way to correct the mask; what is chosen becomes the visit's edits."""
    steps = st.container()
    edits = visit.edits
    key = f"correct_{visit.revision}"  # after a step back the widgets start from what they show
    thresholds = [
        _threshold(region, least, f"{key}_{region.name}")
        for region, least in zip(Region, edits.thresholds, strict=True)
    ]
    smallest_ml = st.number_input(
        "Drop isolated findings below (mL)",
        0.0,
        MOST_ML,
        edits.smallest_ml,
        0.1,
        key=f"{key}_smallest",
        help=f"Within a lesion, core and enhancement below {FOCUS_ML:g} mL, and enhancement below "
        f"{ENHANCING_ML:g} mL in all, count as what they lie in, and so does what is nowhere "
        f"{SURE[0]:.0%} likely, unless you lower its threshold. At 0 everything is kept.",
    )
    fill_holes = st.checkbox(
        "Fill holes",
        edits.fill_holes,
        key=f"{key}_holes",
        help="What the tumour encloses on all sides becomes oedema.",
    )
    wt, tc, et = thresholds
    visit.history = visit.history.do(Edits((wt, tc, et), smallest_ml, fill_holes, edits.removed))
    with steps:
        _walk(visit)  # knows what the widgets below it have just changed
    _removed(visit)
    st.caption(
        "Lesions are removed in the table below the pictures. To paint or erase by hand, open the "
        "downloaded mask in ITK-SNAP."
    )


def _threshold(region: Region, least: float, key: str) -> float:
    percent: int = st.slider(
        f"{region.title} from",
        5,
        95,
        round(100 * least),
        5,
        format="%d %%",
        key=key,
        help="Least probability. Lower: more tissue. Higher: only where the model is sure.",
    )
    return percent / 100


def _walk(visit: Visit) -> None:
    """Undo, redo, reset."""
    history = visit.history
    steps: list[tuple[str, bool, Callable[[], None]]] = [
        ("Undo", bool(history.past), _undo),
        ("Redo", bool(history.future), _redo),
        ("Reset", visit.edits != NO_EDITS, _reset),
    ]
    for column, (title, possible, act) in zip(st.columns(3, gap="xsmall"), steps, strict=True):
        column.button(
            title, key=title.lower(), disabled=not possible, on_click=act, width="stretch"
        )


def _undo() -> None:
    _step_to(lambda visit: visit.history.undo())


def _redo() -> None:
    _step_to(lambda visit: visit.history.redo())


def _reset() -> None:
    _step_to(lambda visit: visit.history.do(NO_EDITS))


def _put_back(which: int) -> None:
    def without_removal(visit: Visit) -> History:
        edits = visit.edits
        for removal in edits.removed:
            if hash(removal) == which:  # gone at a second click before the page is drawn anew
                edits = edits.with_again(removal)
        return visit.history.do(edits)

    _step_to(without_removal)


def _step_to(step: Callable[[Visit], History]) -> None:
    """Change the edits from outside of their widgets, which are then made anew."""
    visit = current_visit()
    if visit is not None:
        visit.history = step(visit)
        visit.revision += 1


def _removed(visit: Visit) -> None:
    """List what was taken out, to put it back."""
    for position, removal in enumerate(visit.edits.removed):
        st.button(
            f"Put back {removal.volume_ml:.1f} mL",
            key=f"put_back_{position}",
            icon=":material/undo:",
            on_click=_put_back,
            args=(hash(removal),),  # not itself: arguments live for ever
            help=removal.title,
            width="stretch",
        )
