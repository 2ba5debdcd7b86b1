"""The header of a NIfTI file, read within physical limits before any voxel is."""

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NoReturn

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.quaternions import quat2mat
from numpy.typing import NDArray

from utils.errors import UnconfirmedUnitError
from utils.grid import Grid, NiftiForms
from utils.notice import Notice
from utils.study import GRID_TOLERANCE_MM
from utils.upload import refuse

MAX_VOXELS = 54_000_000
MAX_BYTES = 110_000_000
"""Four scans within both limits, e.g. of 512 x 512 x 200 voxels, are checked in 1 GB of memory."""

MAX_AXIS = 2048
MIN_AXIS = 16
"""Fewer slices cannot hold what a 3-D network looks at; 2-D images and localisers fall here."""

SPACING_LIMITS_MM = (0.1, 20.0)
MAX_COORDINATE_MM = 10_000.0
MAX_SHEAR = 1e-4
"""Cosine between two voxel axes; header rounding stays below, and ITK cannot represent more."""

NIFTI_1_SIZE = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")  # 348 in either byte order
NIFTI_2_SIZE = (b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # 540
NIFTI_2_MAGIC = b"n+2\0\r\n\x1a\n"

NIBABEL_ROUNDING = float(Nifti1Header.quaternion_threshold)
ITK_ROUNDING = 1e-7
"""Below this nibabel, and the C library in ITK, read a quaternion's w squared as 0."""

MAX_EXTENSION_BYTES = 16 * 2**20
_MILLIMETRE_OR_UNSTATED = {0, 2}
_UNITS = {1: "metres", 3: "micrometres"}
_INTEGERS = {2: "u1", 256: "i1", 4: "i2", 512: "u2", 8: "i4", 768: "u4", 1024: "i8", 1280: "u8"}
_DATATYPES = {**_INTEGERS, 16: "f4", 64: "f8"}
_COLOUR = {128, 2304}
_COMPLEX = {32, 1792, 2048}
DESCRIPTION = b"brain-tumour-segmentation; research use only"
"""What a mask of ours says of itself."""
_SOFTWARE_VERSION = (b"FSL", b"5.0", b"6.0")  # what FSL leaves in descrip: no patient's text


@dataclass(frozen=True, eq=False)
class Header:
    """What the gate needs to know of a header, checked.

    Attributes
    ----------
    version : 1 or 2
        NIfTI version.
    grid : Grid
        Three axes, the affine that holds, and the forms that stated it.
    axes : tuple of int
        Length of every stored axis; more than three if the rest have length 1.
    promised : int
        Bytes from the start of the file to the end of the last voxel.
    scaled : bool
        True if stored values are to be multiplied or shifted.
    forms_differ : bool
        True if qform and sform are both set and disagree; the sform holds.
    false_unit : str
        What the header says its millimetres are, where a person has confirmed that they are
        millimetres; empty where it says so itself.
    """

    version: int
    grid: Grid
    axes: tuple[int, ...]
    promised: int
    scaled: bool
    forms_differ: bool
    false_unit: str = ""


def parse_header(
    head: bytes, subject: str, *, millimetres: bool = False
) -> tuple[Header, tuple[Notice, ...]]:
    """Read and check a header.

    Parameters
    ----------
    head : bytes
        The first ``upload.HEAD_BYTES`` of the uncompressed stream.
    subject : str
        How messages name the scan.
    millimetres : bool
        Whether a person has confirmed that its numbers are millimetres, whatever it says itself.

    Raises
    ------
    UnconfirmedUnitError
        If nothing is wrong but the unit, and nobody has confirmed it yet.
    UnreadableVolumeError
        If any field is impossible, contradicts another, or leaves left and right unknown.
    """
    fields, version = _fields(head, subject)
    item_bytes = _item_bytes(int(fields["datatype"]), subject)
    axes = _axes(fields, item_bytes, subject)
    promised = _data_offset(fields, version, subject) + item_bytes * prod(axes)
    scaled = _is_scaled(fields, subject)
    grid, forms_differ = _grid(fields, (axes[0], axes[1], axes[2]), subject)
    false_unit = _false_unit(fields)
    if false_unit and not millimetres:
        raise UnconfirmedUnitError(_unconfirmed(false_unit, grid, subject))
    header = Header(version, grid, axes, promised, scaled, forms_differ, false_unit)
    return header, _notices(header, fields, head, subject)


def forms_of(fields: Nifti1Header) -> NiftiForms:
    """Both forms as float32: masks are NIfTI-1, also those of a NIfTI-2 scan."""
    return NiftiForms(
        qform_code=int(fields["qform_code"]),
        sform_code=int(fields["sform_code"]),
        pixdim=_float32s(fields["pixdim"][:4]),
        quaternion=_float32s([fields[f"quatern_{axis}"] for axis in "bcd"]),
        offset=_float32s([fields[f"qoffset_{axis}"] for axis in "xyz"]),
        srow=_float32s([fields[f"srow_{axis}"] for axis in "xyz"]),
    )


def qform_affine(forms: NiftiForms, rounding: float) -> NDArray[np.float64]:
    """(4, 4) affine that the quaternion states, as a reader with this `rounding` sees it."""
    w_squared = _w_squared(forms)
    w = np.sqrt(w_squared) if w_squared >= rounding else 0.0
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([w, *forms.quaternion]) * forms.pixdim[1:4]
    if forms.pixdim[0] < 0:  # the standard reads a handedness of 0 as 1
        affine[:3, 2] *= -1
    affine[:3, 3] = forms.offset
    return affine


def sform_affine(forms: NiftiForms) -> NDArray[np.float64]:
    """(4, 4) affine that the srow fields state."""
    return np.vstack([np.reshape(forms.srow, (3, 4)), [0, 0, 0, 1]])


def _fields(head: bytes, subject: str) -> tuple[Nifti1Header, int]:
    """Raw header fields in the file's byte order, and the NIfTI version."""
    size = head[:4]
    if size in NIFTI_1_SIZE:
        _check_complete(head, 348, subject)
        if head[344:348] == b"ni1\0":
            _refuse_half(subject)
        if head[344:348] != b"n+1\0":
            refuse(
                subject,
                "this is an ANALYZE file or lacks the NIfTI mark; it leaves left and right unknown",
                "Export the scan again from the original DICOM as NIfTI",
            )
        return Nifti1Header(head[:348], _byte_order(size), check=False), 1
    if size in NIFTI_2_SIZE and head[4:8] == b"ni2\0":
        _refuse_half(subject)
    if size in NIFTI_2_SIZE and NIFTI_2_MAGIC.startswith(head[4:12]):
        _check_complete(head, 540, subject)
        return Nifti2Header(head[:540], _byte_order(size), check=False), 2
    return refuse(subject, "this is not a NIfTI scan", "Choose a .nii or .nii.gz file")


def _check_complete(head: bytes, size: int, subject: str) -> None:
    if len(head) < size:
        finding = f"the upload is incomplete ({len(head)} of {size} header bytes)"
        refuse(subject, finding, "Send it again")


def _refuse_half(subject: str) -> NoReturn:
    refuse(
        subject,
        "this is half of a .hdr/.img pair; left and right are unknown without the other",
        "Save the scan as a single .nii.gz",
    )


def _byte_order(size: bytes) -> str:
    return "<" if size[0] else ">"


def _item_bytes(datatype: int, subject: str) -> int:
    if datatype in _COLOUR:
        refuse(subject, "this is a colour image, not an MR series", "Export it in grey values")
    if datatype in _COMPLEX:
        refuse(subject, "its voxels are complex numbers", "Export the magnitude image")
    if datatype not in _DATATYPES:
        refuse(
            subject,
            f"its voxels are of a type that cannot be read (code {datatype})",
            "Export the magnitude image as 16-bit integers or 32-bit floats",
        )
    return np.dtype(_DATATYPES[datatype]).itemsize


def _axes(fields: Nifti1Header, item_bytes: int, subject: str) -> tuple[int, ...]:
    """Length of each axis: three that span a volume, the rest 1."""
    dim = [int(n) for n in fields["dim"]]
    if not 1 <= dim[0] <= 7:
        _refuse_header(subject, f"it states {dim[0]} dimensions")
    axes = tuple(dim[1 : dim[0] + 1])
    if min(axes) < 1:
        _refuse_header(subject, f"it states an axis of {min(axes)} voxels")
    size = " x ".join(map(str, axes))
    if max(axes) > MAX_AXIS:
        refuse(subject, f"{size} voxels is an impossible size", "Export the scan again")
    if prod(axes[3:]) > 1:
        refuse(
            subject,
            f"it holds {prod(axes[3:])} volumes ({size} voxels)",
            "Save one 3-D volume per file",
        )
    if len(axes) < 3 or min(axes[:3]) < MIN_AXIS:
        refuse(
            subject,
            f"{size} voxels is too thin: a volume needs {MIN_AXIS} slices or more along each axis",
            "Choose the whole 3-D series, not a single slice or a localiser",
        )
    if prod(axes) > MAX_VOXELS:
        refuse(
            subject,
            f"{size} voxels is too large (at most {MAX_VOXELS / 1e6:.0f} million)",
            "Resample the four scans to 1 mm, or crop them to the head",
        )
    if prod(axes) * item_bytes > MAX_BYTES:
        refuse(
            subject,
            f"{prod(axes) * item_bytes / 1e6:.0f} MB of voxels is too large (at most "
            f"{MAX_BYTES / 1e6:.0f} MB)",
            "Save the scan as 16-bit integers, or resample it to 1 mm",
        )
    return axes


def _data_offset(fields: Nifti1Header, version: int, subject: str) -> int:
    """Where the voxels start; behind the header, and not further than an extension can be."""
    first = 352 if version == 1 else 544
    offset = float(fields["vox_offset"])
    if not (first <= offset <= first + MAX_EXTENSION_BYTES and offset == int(offset)):
        _refuse_header(subject, f"its voxels cannot start at byte {offset:g}")
    return int(offset)


def _is_scaled(fields: Nifti1Header, subject: str) -> bool:
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return False
    if not np.isfinite(inter):
        _refuse_header(subject, f"its intercept is {inter}")
    return (slope, inter) != (1.0, 0.0)


def _grid(fields: Nifti1Header, shape: tuple[int, int, int], subject: str) -> tuple[Grid, bool]:
    """Work out the grid, and whether qform and sform contradict each other harmlessly."""
    forms = forms_of(fields)
    if not forms.sform_code and not forms.qform_code:
        refuse(
            subject,
            "its orientation is unknown (qform and sform codes are 0), so left and right are too",
            "Export the scan again from the original DICOM with dcm2niix",
        )
    for code in (forms.qform_code, forms.sform_code):
        if not 0 <= code <= 5:
            _refuse_header(subject, f"form code {code} does not exist")
    _check_spacing(forms.pixdim[1:4], _false_unit(fields), subject)
    qform = _qform(forms, subject) if forms.qform_code else None
    sform = _sform(forms, shape, subject) if forms.sform_code else None
    affine = sform if sform is not None else qform
    grid = Grid(shape, np.asarray(affine), forms)
    _check_coordinates(grid, subject)
    if qform is None or sform is None:
        return grid, False
    return grid, _forms_differ(Grid(shape, qform), grid, subject)


def _float32s(values: Any) -> tuple[float, ...]:
    with np.errstate(over="ignore"):  # too large for a mask's header: refused as not finite
        return tuple(np.asarray(values).ravel().astype(np.float32).astype(float).tolist())


def _false_unit(fields: Nifti1Header) -> str:
    """Name the unit that the header states, if it is any other than millimetres."""
    unit = int(fields["xyzt_units"]) & 7
    if unit in _MILLIMETRE_OR_UNSTATED:
        return ""
    return _UNITS.get(unit, f"an unknown unit (code {unit})")


def _unconfirmed(unit: str, grid: Grid, subject: str) -> str:
    sizes = " x ".join(f"{size:.3g}" for size in grid.spacing_mm)
    return (
        f"{subject}: its header measures in {unit}, which would make every volume wrong. Confirm "
        f"that its voxels are {sizes} mm, correct the header, or export the scan again."
    )


def _check_spacing(spacing: tuple[float, ...], false_unit: str, subject: str) -> None:
    low, high = SPACING_LIMITS_MM
    if not all(low <= size <= high for size in spacing):
        sizes = " x ".join(f"{size:g}" for size in spacing)
        if false_unit:
            refuse(
                subject,
                f"its header measures in {false_unit} ({sizes})",
                "Convert the header to millimetres, or export the scan again",
            )
        _refuse_header(subject, f"voxels of {sizes} mm are impossible")


def _qform(forms: NiftiForms, subject: str) -> NDArray[np.float64]:
    """Work out the affine that the quaternion states."""
    if forms.pixdim[0] not in (-1, 0, 1):
        _refuse_header(subject, f"its handedness (pixdim[0]) is {forms.pixdim[0]:g}, not 1 or -1")
    if _w_squared(forms) < -NIBABEL_ROUNDING:
        _refuse_header(subject, "its qform quaternion is not a rotation")
    affine = qform_affine(forms, NIBABEL_ROUNDING)
    if not np.isfinite(affine).all():
        _refuse_header(subject, "its qform holds values that are not finite")
    return affine


def _w_squared(forms: NiftiForms) -> float:
    """Square of the part of the unit quaternion that a header leaves out."""
    return 1 - float(np.square(forms.quaternion).sum())


def _sform(forms: NiftiForms, shape: tuple[int, int, int], subject: str) -> NDArray[np.float64]:
    """Work out the affine that the srow fields state."""
    affine = sform_affine(forms)
    if not np.isfinite(affine).all():
        _refuse_header(subject, "its sform holds values that are not finite")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() == 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        _refuse_header(subject, "its sform is singular: its voxels have no volume")
    axes = affine[:3, :3] / spacing
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > MAX_SHEAR:
        refuse(
            subject,
            f"its voxel axes are not at right angles (cosine {shear:.2g})",
            "Resample the scan to a rectangular grid first",
        )
    error_mm = np.abs(spacing - forms.pixdim[1:4]) * (np.array(shape) - 1)
    if np.linalg.norm(error_mm) > GRID_TOLERANCE_MM:  # at the far corner; ITK believes pixdim
        stated = " x ".join(f"{size:.6g}" for size in forms.pixdim[1:4])
        meant = " x ".join(f"{size:.6g}" for size in spacing)
        _refuse_header(subject, f"pixdim says {stated} mm, the sform {meant} mm")
    return affine


def _check_coordinates(grid: Grid, subject: str) -> None:
    corners = np.array([(*c, 1) for c in product(*((0, n - 1) for n in grid.shape))])
    furthest = float(np.abs(corners @ grid.affine.T).max())
    if furthest > MAX_COORDINATE_MM:
        _refuse_header(subject, f"it places the patient {furthest / 1000:.3g} m from the scanner")


def _forms_differ(qform: Grid, sform: Grid, subject: str) -> bool:
    if qform.displacement_mm(sform) <= GRID_TOLERANCE_MM:  # no mirrored grid is so near
        return False
    mirrored = np.linalg.det(qform.affine) * np.linalg.det(sform.affine) < 0
    if mirrored or qform.orientation != sform.orientation:
        refuse(
            subject,
            f"its two orientations contradict each other (qform {qform.orientation}, sform "
            f"{sform.orientation}), so left and right are unknown",
            "Export the scan again from the original DICOM",
        )
    return True


def _notices(header: Header, fields: Nifti1Header, head: bytes, subject: str) -> tuple[Notice, ...]:
    """Tell what was accepted although it is unusual."""
    found = []
    if header.version == 2:
        text = f"{subject}: the file is NIfTI-2; results are written as NIfTI-1."
        found.append(Notice("nifti-2", subject, text))
    if len(header.axes) > 3:
        text = f"{subject}: its fourth axis has length 1 and was dropped."
        found.append(Notice("fourth-axis", subject, text))
    if header.forms_differ:
        text = f"{subject}: qform and sform place it differently; the sform was used."
        found.append(Notice("forms-differ", subject, text))
    if header.false_unit:
        text = (
            f"{subject}: its header measures in {header.false_unit}; the reader confirmed that its "
            "numbers are millimetres."
        )
        found.append(Notice("unit", subject, text))
    if _has_text(fields, head, header.version):
        text = f"{subject}: its header holds text, which is neither shown nor copied."
        found.append(Notice("header-text", subject, text))
    return tuple(found)


def _has_text(fields: Nifti1Header, head: bytes, version: int) -> bool:
    descrip, *others = (
        bytes(np.asarray(fields[f]).tobytes()).strip(b"\0 ")
        for f in ("descrip", "aux_file", "intent_name")
    )
    if version == 1:
        others.append(bytes(np.asarray(fields["db_name"]).tobytes()).strip(b"\0 "))
    extension = head[348 if version == 1 else 540 :][:1] not in (b"", b"\0")
    others = [text for text in others if text != b"none"]  # FSL's word for no aux_file
    known = descrip in (b"", DESCRIPTION) or descrip.startswith(_SOFTWARE_VERSION)
    return extension or any(others) or not known


def _refuse_header(subject: str, finding: str) -> NoReturn:
    refuse(subject, f"the header is damaged: {finding}", "Export the scan again")
