"""The sections of the Follow-up page: volumes, the arithmetic of RANO, lesions, the course."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import streamlit as st

from pages.components.findings import burden_of
from pages.components.mask_slices import region_choice
from pages.components.mask_upload import UploadedMask, mask_upload, scan_upload
from pages.components.session import Visit, keep, memo, recall, upload_generation
from pages.components.table import table
from pages.components.viewer import Comparison, LookAt
from utils.align import rearranged
from utils.burden import Burden
from utils.change import Change, LesionChange, RanoSums, region_changes
from utils.errors import GridMismatchError
from utils.labels import Region
from utils.measure import millilitres
from utils.segmentation import Segmentation
from utils.study import Modality
from utils.two_visits import TwoVisits, VisitMask, passage_between
from utils.volume import Volume

EARLIER = "Earlier mask"
MOST_LESIONS = 12
_KEPT = "follow-up"


@dataclass
class _Kept:
    """What the page holds between reruns."""

    fields: list[int] = field(default_factory=lambda: [0])  # one number an earlier visit
    days: dict[str, date | None] = field(default_factory=dict)
    visits: TwoVisits | None = None
    comparison: Comparison | None = None  # of the visits, made when it is shown
    again: bool = False
    look_at: LookAt | None = None


@dataclass
class _Ordered:
    """A scan as it came, and in its mask's axis order."""

    source: Volume | None = None
    scan: Volume | None = None


def current_study(visit: Visit, segmentation: Segmentation) -> VisitMask:
    """The study on the Segment page."""
    return VisitMask(
        burden_of(visit, segmentation), visit.intake.study.scans[Modality.T1CE], _day("current")
    )


def uploaded_visit(when: str, key: str) -> VisitMask | None:
    """A visit that comes as a mask, with or without its scan; None until there is a mask."""
    mask = mask_upload(f"{when} mask", key)
    scan = scan_upload(f"{when} T1ce scan (optional)", f"{key}_scan")
    day = _day(key)
    if mask is None:
        return None
    return VisitMask(mask.burden, scan and _on_mask(mask, scan, when), day)


def earlier_visits() -> list[VisitMask]:
    """Fields for as many earlier visits as the reader wants; those that are filled, oldest first.

    By their dates if all have one, else in the order of the fields.
    """
    kept = _kept()
    found = []
    for position, number in enumerate(kept.fields, 1):
        with st.container(border=True):
            many = f" {position}" if len(kept.fields) > 1 else ""
            visit = uploaded_visit(f"Earlier{many}", f"earlier_{number}")
            if visit is not None:
                found.append(visit)
    st.button("Add an earlier visit", key="add_visit", icon=":material/add:", on_click=_add_field)
    days = [visit.day for visit in found if visit.day is not None]
    if len(days) == len(found):
        found.sort(key=lambda visit: visit.day or date.min)
    elif days:
        st.caption("Not every visit has a date: they are taken in the order of the fields.")
    return found


def name_of(visit: VisitMask, position: int, count: int) -> str:
    """What the reader calls a visit: its date, or its place in the row."""
    if visit.day is not None:
        return visit.day.isoformat()
    return "Earlier" if count == 1 else f"Earlier {position + 1}"


def show_volumes(earlier: VisitMask, current: VisitMask, name: str) -> None:
    """Volumes of both visits and their difference, each measured on its own voxels."""
    st.markdown("#### Volumes")
    rows = [
        (
            f"{region.title} ({region.name})",
            f"{change.earlier:.1f}",
            f"{change.current:.1f}",
            f"{change.difference:+.1f}",
            percent_text(change),
        )
        for region, change in region_changes(earlier.burden, current.burden).items()
    ]
    table(("Region", f"{name} (mL)", "Now (mL)", "Change (mL)", "Change"), rows)


def show_rano(earlier: Sequence[VisitMask], current: VisitMask, names: Sequence[str]) -> None:
    """The sums of products and what RANO 2.0 does with them, number by number."""
    st.markdown("#### Diameters, with the arithmetic of RANO 2.0")
    sums = RanoSums(
        tuple(v.burden.product_sum_mm2 for v in earlier), current.burden.product_sum_mm2
    )
    rows = [
        (name, _products(visit.burden), f"{visit.burden.product_sum_mm2:.0f}")
        for name, visit in zip((*names, "Now"), (*earlier, current), strict=True)
    ]
    table(("Visit", "Measurable lesions (mm x mm)", "Sum of products (mm²)"), rows)
    baseline, nadir = sums.baseline, sums.nadir
    st.markdown(
        f"- Against the **baseline** (first visit, {names[0]}): {_spelled(baseline)}. "
        f"At least 50 % less: **{_yes(sums.half_of_baseline_or_less)}**.\n"
        f"- Against the **nadir** (smallest sum before now): {_spelled(nadir)}. "
        f"At least 25 % more: **{_yes(sums.quarter_above_nadir_or_more)}**."
    )
    st.caption(
        "Measurable: both diameters of the enhancing part at least 10 mm, on its largest axial "
        "slice; the sum takes every measurable lesion. This is arithmetic, not an assessment: "
        "RANO 2.0 (doi:10.1200/JCO.23.01059) takes the first scan after radiotherapy as its "
        "baseline, has the reader choose target lesions, and weighs new lesions, steroids, "
        "clinical state and a confirming scan. The model was trained on gliomas before treatment: "
        "after surgery, check every mask."
    )


def show_course(visits: Sequence[VisitMask], names: Sequence[str]) -> None:
    """Volumes over time, for three visits and more."""
    st.markdown("#### Course")
    values = [
        {"visit": name, "region": region.title, "mL": round(volume_ml, 2), "order": position}
        for position, (visit, name) in enumerate(zip(visits, names, strict=True))
        for region, volume_ml in visit.burden.volumes_ml.items()
    ]
    dated = all(visit.day is not None for visit in visits)
    across: dict[str, object] = {"field": "visit", "title": None}
    across |= {"type": "temporal"} if dated else {"type": "ordinal", "sort": list(names)}
    spec = {
        "data": {"values": values},
        "mark": {"type": "line", "point": True, "tooltip": True},
        "encoding": {
            "x": across,
            "y": {"field": "mL", "type": "quantitative"},
            "color": {
                "field": "region",
                "type": "nominal",
                "title": None,
                "sort": [region.title for region in Region],
            },
        },
    }
    st.vega_lite_chart(spec=spec, height=260)


def two_visits(earlier: VisitMask, current: VisitMask) -> TwoVisits:
    """Both on the current grid; the same object until one of them is replaced.

    Raises
    ------
    GridMismatchError
        If they cannot be brought together.
    """
    kept = _kept()
    again = _again(earlier, current)
    known = kept.visits
    if known is None or kept.again is not again or not _same(known, earlier, current):
        kept.visits = kept.comparison = None
        with st.spinner("Aligning the two visits …"):
            passage = passage_between(earlier, current, again=again)
        kept.visits = known = TwoVisits(earlier, current, passage)
        kept.again = again
    return known


def comparison(visits: TwoVisits) -> Comparison:
    """The earlier visit as the viewer wants it; the same object for the same two visits."""
    kept = _kept()
    if kept.comparison is None:
        scan = visits.earlier_scan
        beside = None if scan is None else ("Earlier T1ce", scan)
        kept.comparison = Comparison(EARLIER, visits.labels, visits.passage.target, beside=beside)
    return kept.comparison


def show_lesions(visits: TwoVisits) -> None:
    """What became of each lesion, with a button that shows it."""
    st.markdown("#### Lesions")
    region = region_choice("Lesions of the", "lesions")
    changes = visits.lesions(region)
    if not changes:
        st.caption("Neither visit has any.")
    for number, change in enumerate(changes[:MOST_LESIONS]):
        text, button = st.columns([6, 1], vertical_alignment="center")
        text.markdown(_lesion_line(change, _names(visits, region, change)))
        button.button("Show", key=f"lesion_{number}", on_click=_look, args=(region.name, number))
    if len(changes) > MOST_LESIONS:
        st.caption(f"and {len(changes) - MOST_LESIONS} smaller ones")
    st.caption(
        "Lesions of the two visits that share a voxel are one; the volumes are those of each "
        "visit's own mask."
    )


def look_at() -> LookAt | None:
    """Where a "Show" button last sent the reader."""
    return _kept().look_at


def percent_text(change: Change) -> str:
    """The change as a share, or why there is none."""
    if change.percent is None:
        return "from nothing" if change.current else "none"
    return f"{change.percent:+.0f} %"


def _names(visits: TwoVisits, region: Region, change: LesionChange) -> str:
    """What the list of lesions calls it: as it is now, or as it was."""
    now = bool(change.current)
    found = visits.current.burden if now else visits.earlier.burden
    numbers = change.current if now else change.earlier
    names = dict.fromkeys(found.name_of(region, number) for number in numbers)
    if not all(names):
        return ""
    lesions = "lesion" if len(names) == 1 else "lesions"
    return f" {'' if now else 'earlier '}{lesions} {', '.join(names)}"


def _lesion_line(change: LesionChange, names: str) -> str:
    volume_ml = change.volume_ml
    joined = f" ({change.joined})" if change.joined else ""
    amounts = f"{millilitres(volume_ml.earlier)} → {millilitres(volume_ml.current)}"
    percent = f", {percent_text(volume_ml)}" if change.earlier and change.current else ""
    return f"**{change.fate.value.capitalize()}**{names}{joined}: {amounts}{percent}"


def _products(found: Burden) -> str:
    measured = [
        f"{d.longest_mm:.1f} x {d.perpendicular_mm:.1f}"
        for focus in found.measurable
        if (d := focus.diameters)
    ]
    return " + ".join(measured) or "none"


def _spelled(change: Change) -> str:
    if change.percent is None:
        return f"{change.current:.0f} mm² from nothing"
    return (
        f"({change.current:.0f} − {change.earlier:.0f}) / {change.earlier:.0f} = "
        f"**{change.percent:+.1f} %**"
    )


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def _on_mask(mask: UploadedMask, scan: Volume, when: str) -> Volume:
    """The scan in its mask's axis order; the same object on every rerun."""
    known = memo((_KEPT, "scan", when), _Ordered)
    if known.source is scan and known.scan is not None and known.scan.grid is mask.grid:
        return known.scan
    values = rearranged(scan.values, scan.grid, mask.grid)
    if values is None:
        raise GridMismatchError(
            f"The {when.lower()} T1ce scan and mask do not lie on the same voxels. Choose the "
            "scan that the mask was made on."
        )
    known.source, known.scan = scan, Volume(values, mask.grid)
    return known.scan


def _again(earlier: VisitMask, current: VisitMask) -> bool:
    """Whether to align although the voxels are the same; asked only where it could be done."""
    if earlier.scan is None or current.scan is None:
        return False
    if earlier.burden.grid.displacement_mm(current.burden.grid) == float("inf"):
        return False
    return st.checkbox(
        "Align the scans although their voxels are the same",
        key="again",
        help="Masks on the same voxels are compared as they are. If the pictures below show that "
        "the head lies differently, tick this.",
    )


def _same(known: TwoVisits, earlier: VisitMask, current: VisitMask) -> bool:
    pairs = ((known.earlier, earlier), (known.current, current))
    return all(a.burden is b.burden and a.scan is b.scan for a, b in pairs)


def _day(key: str) -> date | None:
    kept = _kept()
    day = st.date_input(
        "Date (optional)",
        kept.days.get(key),
        key=f"day_{key}_{upload_generation()}",
        help="Stays on this screen; it orders the visits.",
    )
    kept.days[key] = day if isinstance(day, date) else None
    return kept.days[key]


def _add_field() -> None:
    kept: _Kept | None = recall(_KEPT)
    if kept is not None:
        kept.fields.append(max(kept.fields) + 1)


def _look(region: str, number: int) -> None:
    kept: _Kept | None = recall(_KEPT)
    if kept is not None and kept.visits is not None:
        visits, chosen = kept.visits, Region[region]
        for change in visits.lesions(chosen)[number : number + 1]:  # none, if the masks are others
            voxel = visits.middle(chosen, change)
            kept.look_at = LookAt(voxel) if voxel else kept.look_at


def _kept() -> _Kept:
    return keep(_KEPT, _Kept)
