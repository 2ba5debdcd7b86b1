"""The gate: uploaded files in, a study that may be segmented out, or every reason why not."""

import hashlib
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TypedDict

from utils.errors import (
    AmbiguousFileError,
    GridMismatchError,
    ImplausibleStudyError,
    MissingModalityError,
    RefusedStudyError,
    UnreadableArchiveError,
    UnreadableVolumeError,
    UserError,
)
from utils.filename import (
    assign,
    candidates,
    display_name,
    is_segmentation,
    label_of,
    stated,
    unclear,
)
from utils.grid import Grid
from utils.nifti import read_nifti
from utils.notice import Notice
from utils.plausibility import (
    DIFFERENT_OUTLINE,
    PUT_BACK,
    SAME_OUTLINE,
    Contrasts,
    brain_size_doubts,
    duplicate_errors,
    grid_notices,
    odd_outline,
    scan_doubts,
)
from utils.study import GRID_TOLERANCE_MM, Modality, Study
from utils.volume import Volume

__all__ = [
    "Intake", "Light", "Reading", "Review", "Verdict", "assign", "check", "display_name",
    "find_scans", "open_study", "read_scan", "read_study_folder", "review", "unzip",
]  # fmt: skip

MAX_FILE_BYTES = 192 * 2**20
"""Largest file read from disk; an uncompressed scan of ``header.MAX_BYTES`` fits."""

FILES_SEARCHED = 1000
"""Where a scan is missing, so many files are looked at for DICOM."""

MAX_ZIP_FILES = 1000
MAX_ZIP_BYTES = 512 * 2**20
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How files may be packed; with bzip2 and LZMA zipfile unpacks more than an entry announces (from
292 bytes 200 MB)."""

_ErrorFor = tuple[UserError, frozenset[Modality]]
_NoticeFor = tuple[Notice, frozenset[Modality]]
"""What is said about scans together, and which slots it concerns."""


class Light(StrEnum):
    """Verdict on one scan as the page shows it."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class Verdict(TypedDict):
    """Verdict on a study as the command line prints it, in JSON."""

    verdict: str
    notices: list[str]
    errors: list[str]
    doubts: list[str]
    """Those of the notices that speak against the scans: see `Intake.doubts`."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One file read for one slot: its volume, or why there is none.

    Attributes
    ----------
    modality : Modality
        The slot.
    sha256 : str
        Hash of the bytes as uploaded.
    volume : Volume or None
        None if `error` says why.
    notices : tuple of Notice
        Repairs made, and doubts about this scan alone.
    error : UserError or None
        The refusal.
    name : str
        The client's file name; it may hold a patient's and leads nowhere but to `review`.
    """

    modality: Modality
    sha256: str
    volume: Volume | None
    notices: tuple[Notice, ...] = ()
    error: UserError | None = None
    name: str = field(default="", repr=False)


@dataclass(frozen=True, eq=False)
class Review:
    """All that is known about a study, complete or not, for a traffic light per scan.

    Attributes
    ----------
    readings : Mapping[Modality, Reading]
        The scans that were given.
    errors : tuple of (UserError, frozenset of Modality)
        What the scans together are refused for, and which slots it concerns.
    notices : tuple of (Notice, frozenset of Modality)
        What must be known about the scans together.
    """

    readings: Mapping[Modality, Reading]
    errors: tuple[tuple[UserError, frozenset[Modality]], ...]
    notices: tuple[tuple[Notice, frozenset[Modality]], ...]

    def light(self, modality: Modality) -> Light:
        """Red if the scan is refused, amber if it needs an explicit "go on", else green."""
        if self._errors(modality):
            return Light.RED
        return Light.AMBER if any(n.consent for n in self._notices(modality)) else Light.GREEN

    def all_errors(self) -> tuple[UserError, ...]:
        """Every refusal, those of single scans first."""
        own = [r.error for r in self.readings.values() if r.error]
        return (*own, *(error for error, _ in self.errors))

    def all_notices(self) -> tuple[Notice, ...]:
        """Every notice, those of single scans first."""
        own = [n for r in self.readings.values() for n in r.notices]
        return (*own, *(notice for notice, _ in self.notices))

    def intake(self) -> "Intake":
        """Return the study, if nothing speaks against it.

        Raises
        ------
        UserError
            The one thing that is wrong, or a `RefusedStudyError` that holds all.
        """
        errors = self.all_errors()
        if errors:
            raise errors[0] if len(errors) == 1 else RefusedStudyError(errors)
        scans = {m: r.volume for m, r in self.readings.items() if r.volume is not None}
        hashes = {m: r.sha256 for m, r in self.readings.items()}
        return Intake(Study(scans), self.all_notices(), hashes)

    def _errors(self, modality: Modality) -> list[UserError]:
        reading = self.readings.get(modality)
        own = [reading.error] if reading is not None and reading.error else []
        return own + [error for error, concerned in self.errors if modality in concerned]

    def _notices(self, modality: Modality) -> list[Notice]:
        reading = self.readings.get(modality)
        own = list(reading.notices) if reading is not None else []
        return own + [notice for notice, concerned in self.notices if modality in concerned]


@dataclass(frozen=True, eq=False)
class Intake:
    """A study that may be segmented, and what must be known about it.

    Attributes
    ----------
    study : Study
        Four repaired scans on one grid.
    notices : tuple of Notice
        Repairs and doubts; run nothing before those with `consent` were accepted.
    sha256 : Mapping[Modality, str]
        Hashes of the bytes as uploaded.
    """

    study: Study
    notices: tuple[Notice, ...]
    sha256: Mapping[Modality, str]

    @property
    def doubts(self) -> tuple[Notice, ...]:
        """What speaks against the scans themselves, not only against their grid.

        A program, which cannot ask, runs nothing before a person has accepted these.
        """
        return _doubts(self.notices)

    def accepted(self) -> "Intake":
        """Return the same after the reader chose to go on: every notice with `consent` says so."""
        notices = tuple(
            replace(n, text=f"{n.text} The reader chose to go on.") if n.consent else n
            for n in self.notices
        )
        return replace(self, notices=notices)


def open_study(scans: Mapping[Modality, tuple[str, bytes]]) -> Intake:
    """Read four uploads as one study.

    Parameters
    ----------
    scans : Mapping[Modality, (str, bytes)]
        Client's file name and content of each slot. Messages name the slot, never the patient that
        the file name may hold.

    Raises
    ------
    UserError
        Naming each scan that cannot be used, why, and what to do.
    """
    return review({m: read_scan(m, *scans[m]) for m in Modality if m in scans}).intake()


def read_scan(modality: Modality, name: str, data: bytes, *, millimetres: bool = False) -> Reading:
    """Judge one file on its own; never raises for what the file holds.

    Parameters
    ----------
    modality : Modality
        The slot.
    name : str
        The client's file name.
    data : bytes
        The file.
    millimetres : bool
        See `utils.nifti.read_nifti`.
    """
    subject = _subject(modality, name)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        volume, notices = read_nifti(data, subject, millimetres=millimetres)
        notices += scan_doubts(modality, volume, subject)
    except UserError as error:
        return Reading(modality, sha256, None, error=error, name=name)
    except MemoryError:
        return Reading(modality, sha256, None, error=_too_large_here(subject), name=name)
    reading = Reading(modality, sha256, volume, notices, name=name)
    return _judged_by_name(reading, stated([name])[0])


def review(readings: Mapping[Modality, Reading], left_out: str = "") -> Review:
    """Judge the scans together: names, grid, duplicates, brain outlines, contrasts.

    Parameters
    ----------
    readings : Mapping[Modality, Reading]
        The scans that were given.
    left_out : str
        What to say of files beside them if a scan is missing.
    """
    says = stated([r.name for r in readings.values()])
    readings = {
        m: _judged_by_name(reading, modality)
        for (m, reading), modality in zip(readings.items(), says, strict=True)
    }
    errors: list[_ErrorFor] = []
    missing = frozenset(Modality) - readings.keys()
    if missing:
        errors.append((_missing(missing, left_out), missing))
    scans = {m: r.volume for m, r in readings.items() if r.volume is not None}
    errors += _grid_errors(scans)
    notices: list[_NoticeFor] = []
    if not errors and len(scans) > 1:
        errors, notices = _judge_anatomy(readings, scans)
    if scans:
        shared = next(iter(scans.values())).grid
        notices += [(n, frozenset(scans)) for n in grid_notices(shared)]
    return Review(readings, tuple(errors), tuple(notices))


def find_scans(folder: Path) -> dict[Modality, Path]:
    """Find the four scans of a folder by their names.

    Raises
    ------
    MissingModalityError, AmbiguousFileError
        Unless the folder can be opened and exactly one file states each modality.
    """
    names = _file_names(folder)
    files = _files(folder, names)
    missing = frozenset(Modality) - files.keys()
    if missing:
        raise _missing(missing, _left_out(folder, names))
    return files


def read_study_folder(folder: Path) -> Intake:
    """Read the four scans of a folder, found by their names.

    Raises
    ------
    UserError
        Naming each scan that is missing, ambiguous or unusable.
    """
    return _review_folder(folder).intake()


def check(folder: Path) -> Verdict:
    """Run the gate alone over a folder; never raises for what it holds."""
    try:
        found = _review_folder(folder)
        errors = [str(error) for error in found.all_errors()]
        notices = [notice.text for notice in found.all_notices()]
        doubts = [notice.text for notice in _doubts(found.all_notices())]
    except UserError as error:
        errors, notices, doubts = [str(error)], [], []
    verdict = "refuse" if errors else "notice" if notices else "accept"
    return Verdict(verdict=verdict, notices=notices, errors=errors, doubts=doubts)


def unzip(data: bytes, name: str) -> list[tuple[str, bytes]]:
    """Unpack the scans of a ZIP file in memory.

    Returns
    -------
    list of (str, bytes)
        Base name and content of every file that may be a scan; folders, resource forks,
        segmentations and sidecars are left out. Nothing is written, so no path can lead anywhere.

    Raises
    ------
    UnreadableArchiveError
        If it is no ZIP file, damaged, locked, packed unusually, or would unpack to too much.
    """
    subject = label_of(name)  # a sentence outlives the screen it stands on
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir() and _may_be_scan(e.filename)]
            _check_archive(entries, len(archive.infolist()), subject)
            # zipfile reads no more than an entry announces, and checks its CRC
            return [(_base(e.filename), archive.read(e)) for e in entries]
    except MemoryError as error:
        raise UnreadableArchiveError(
            f"{subject}: this computer has not enough free memory to unpack the ZIP file. Close "
            "other programs, or choose the four scans themselves."
        ) from error
    # what zipfile throws at damaged names, offsets, sizes and flags
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise UnreadableArchiveError(
            f"{subject}: the ZIP file is damaged or of an unknown kind. Zip the scans again."
        ) from error


def _doubts(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    return tuple(n for n in notices if n.consent and n.code not in PUT_BACK)


def _review_folder(folder: Path) -> Review:
    names = _file_names(folder)
    files = _files(folder, names)
    with ThreadPoolExecutor(2) as readers:  # while one unpacks the other may compute
        readings = dict(zip(files, readers.map(_read_file, files, files.values()), strict=True))
    return review(readings, "" if len(files) == len(Modality) else _left_out(folder, names))


def _files(folder: Path, names: Sequence[str]) -> dict[Modality, Path]:
    """Find the files of a folder that state a modality, one each."""
    found = candidates(names)
    doubles = {m: files for m, files in found.items() if len(files) > 1}
    if doubles:
        raise AmbiguousFileError(
            " ".join(
                f"{len(files)} files could be {m.title} ({_labels(files)})."
                for m, files in doubles.items()
            )
            + f" Keep one file for each modality.{_about_dicom(folder)}"
        )
    return {m: folder / files[0] for m, files in found.items()}


def _labels(names: Sequence[str]) -> str:
    """Name files by their radiological words; those that this leaves alike are counted."""
    counts = Counter(map(label_of, names))
    return ", ".join(label if n == 1 else f"{n} x {label}" for label, n in counts.items())


def _left_out(folder: Path, names: Sequence[str]) -> str:
    """Say which files of a folder may hold the scan that it seems to lack."""
    told = _about_dicom(folder)
    if images := unclear(names):
        told += f" Left out, for their names state no modality or two: {_labels(images)}."
    return told


def _about_dicom(folder: Path) -> str:
    files = islice(folder.rglob("*"), FILES_SEARCHED)
    if not any(map(_is_dicom, files)):
        return ""
    return " The folder holds DICOM files: convert the series with dcm2niix."


def _is_dicom(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _file_names(folder: Path) -> list[str]:
    """Paths inside a study folder, its own files first; subfolders only if it has none."""
    try:
        if folder.is_file():
            raise MissingModalityError(
                "The study folder is a file. Give the folder of the scans; unzip an archive first."
            )
        if not folder.exists():
            raise MissingModalityError(
                "The study folder does not exist. Give the folder of the scans."
            )
        own = sorted(p.name for p in folder.iterdir() if p.is_file())
        if candidates(own):
            return own
        below = (p for p in folder.glob("*/*") if p.is_file())
        return sorted(p.relative_to(folder).as_posix() for p in below)
    except OSError as error:
        raise MissingModalityError(
            f"The study folder cannot be opened ({error.strerror}). Check its name and that you "
            "may read it."
        ) from error


def _read_file(modality: Modality, path: Path) -> Reading:
    subject = _subject(modality, path.name)
    try:
        size = path.stat().st_size
        if size <= MAX_FILE_BYTES:
            return read_scan(modality, path.name, path.read_bytes())
        reason = f"the file is too large ({size / 2**20:,.0f} MB of at most {MAX_FILE_BYTES >> 20})"
    except OSError:
        reason = "the file cannot be opened"
    error = UnreadableVolumeError(f"{subject}: {reason}. Check the file and try again.")
    return Reading(modality, "", None, error=error)


def _subject(modality: Modality, name: str) -> str:
    """How messages name a scan."""
    return f"{modality.title} scan ({label_of(name)})"


def _judged_by_name(reading: Reading, says: Modality | None) -> Reading:
    """Add the doubt about a file whose name says another modality than its slot, or take it back.

    Of one name alone it is not known where the case ends: "POST_17_t1.nii" may be of case POST 17.
    """
    code = "name-contradicts-slot"
    notices = tuple(notice for notice in reading.notices if notice.code != code)
    if says not in (None, reading.modality):
        subject = _subject(reading.modality, reading.name)
        text = f"{subject}: the file name says {says.title}; check that it is in the right slot."
        notices += (Notice(code, subject, text, consent=True),)
    return replace(reading, notices=notices)


def _too_large_here(subject: str) -> UnreadableVolumeError:
    return UnreadableVolumeError(
        f"{subject}: this computer has not enough free memory for a scan of this size. Close other "
        "programs, or resample the four scans to 1 mm."
    )


def _missing(modalities: frozenset[Modality], left_out: str) -> MissingModalityError:
    return MissingModalityError(
        f"This study lacks {_listed(modalities)}. Add the missing scan, with its modality in the "
        f"file name (flair, t1, t1ce, t2), and try again.{left_out}"
    )


def _listed(modalities: Collection[Modality]) -> str:
    """Name modalities as one does: ``FLAIR, T1 and T2``."""
    titles = [m.title for m in Modality if m in modalities]
    return " and ".join(filter(None, (", ".join(titles[:-1]), titles[-1])))


def _grid_errors(scans: Mapping[Modality, Volume]) -> list[_ErrorFor]:
    """One error with a table of all grids if any two differ by more than the tolerance."""
    grids = {m: scan.grid for m, scan in scans.items()}
    if len(grids) < 2:
        return []
    reference = next(iter(grids.values()))
    shifts = {m: reference.displacement_mm(grid) for m, grid in grids.items()}
    if max(shifts.values()) <= GRID_TOLERANCE_MM:
        return []
    table = "\n".join(f"- {m.title}: {_grid_row(grids[m], shifts[m])}" for m in grids)
    error = GridMismatchError(
        f"The scans do not share one voxel grid:\n{table}\n\n"
        "Co-register them to one of the four and upload them again."
    )
    return [(error, frozenset(grids))]


def _grid_row(grid: Grid, shift_mm: float) -> str:
    voxels = " x ".join(map(str, grid.shape))
    spacing = " x ".join(f"{size:.2f}" for size in grid.spacing_mm)
    origin = ", ".join(f"{mm:.1f}" for mm in grid.affine[:3, 3])
    row = f"{voxels} voxels of {spacing} mm, {grid.orientation}, first voxel at ({origin}) mm"
    if GRID_TOLERANCE_MM < shift_mm < float("inf"):
        row += f", off by {shift_mm:.1f} mm"
    return row


def _judge_anatomy(
    readings: Mapping[Modality, Reading], scans: Mapping[Modality, Volume]
) -> tuple[list[_ErrorFor], list[_NoticeFor]]:
    """Duplicates, brain outlines, size and contrasts of two scans or more."""
    contrasts = Contrasts.of(scans)
    if twice := duplicate_errors(scans, contrasts):
        return [(error, frozenset(scans)) for error in twice], []
    doubts = {m: {n.code for n in readings[m].notices} for m in scans}
    stripped = {m: scan for m, scan in scans.items() if "skull" not in doubts[m]}
    errors, notices = _outline_findings(stripped)
    if errors:
        return errors, []
    if not any("brain-cut" in codes for codes in doubts.values()):
        notices += [(n, frozenset(scans)) for n in brain_size_doubts(scans)]
    # where every scan has a skull, fat and muscle would be taken for brain
    if contrasts and stripped and len(scans) == len(Modality):
        notices += _swap_notices(contrasts)
    return [], notices


def _outline_findings(
    stripped: Mapping[Modality, Volume],
) -> tuple[list[_ErrorFor], list[_NoticeFor]]:
    """Whether the brains of scans without a skull are one patient's."""
    if len(stripped) < 2:
        return [], []
    odd, overlap = odd_outline(stripped)
    concerned = frozenset({odd})
    others = _listed([m for m in stripped if m is not odd])
    if overlap < DIFFERENT_OUTLINE:
        error = ImplausibleStudyError(
            f"The brain in {odd.title} has another outline than in {others} ({overlap:.0%} "
            "overlap): they seem to come from two patients. Choose four scans of one visit, "
            "co-registered."
        )
        return [(error, concerned)], []
    if overlap < SAME_OUTLINE:
        text = (
            f"The brain in {odd.title} has a slightly different outline than in {others} "
            f"({overlap:.0%} overlap); make sure that the four scans are of one patient and "
            "co-registered."
        )
        return [], [(Notice("outline", odd.title, text, consent=True), concerned)]
    return [], []


def _swap_notices(contrasts: Contrasts) -> list[_NoticeFor]:
    suspected = contrasts.arrangement()
    if not suspected:
        return []
    pairs = ", ".join(f"{slot.title} looks like {m.title}" for slot, m in suspected.items())
    subject = ", ".join(slot.title for slot in suspected)
    text = f"Scans may be in the wrong slots: {pairs}. Compare the thumbnails before you go on."
    return [(Notice("swapped", subject, text, consent=True), frozenset(suspected))]


def _may_be_scan(path: str) -> bool:
    return bool(candidates([path])) or (
        path.lower().endswith((".nii", ".nii.gz"))
        and not path.startswith("__MACOSX/")
        and not _base(path).startswith(".")
        and not is_segmentation(path)
    )


def _base(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _check_archive(entries: list[zipfile.ZipInfo], total: int, subject: str) -> None:
    if total > MAX_ZIP_FILES:
        raise UnreadableArchiveError(
            f"{subject}: the ZIP file holds {total:,} files (at most {MAX_ZIP_FILES:,}). "
            "Zip the four scans alone."
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise UnreadableArchiveError(
            f"{subject}: the ZIP file is locked with a password. Zip the scans without one."
        )
    if any(entry.compress_type not in ZIP_METHODS for entry in entries):
        raise UnreadableArchiveError(
            f"{subject}: the ZIP file is packed by another method than the usual one (Deflate). "
            "Zip the scans again with the usual settings."
        )
    promised = sum(entry.file_size for entry in entries)
    if promised > MAX_ZIP_BYTES:
        raise UnreadableArchiveError(
            f"{subject}: the ZIP file would unpack to {promised / 2**20:,.0f} MB (at most "
            f"{MAX_ZIP_BYTES >> 20}). Zip the four scans alone."
        )
    if not entries:
        raise UnreadableArchiveError(
            f"{subject}: the ZIP file holds no NIfTI scan. Zip the four .nii.gz files."
        )
