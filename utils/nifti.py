"""NIfTI bytes to Volume and back: the sole reader and writer.

Two independent readers, nibabel and SimpleITK, look at every scan that comes in and at every mask
that goes out. Where they disagree there is no knowing which the next program will side with.
"""

import gzip
from pathlib import Path
from threading import Lock
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from utils.errors import MaskNotVerifiedError
from utils.filename import display_name
from utils.grid import Grid, NiftiForms
from utils.header import (
    DESCRIPTION,
    ITK_ROUNDING,
    Header,
    forms_of,
    parse_header,
    qform_affine,
    sform_affine,
)
from utils.intensity import FEW, repair
from utils.notice import Notice
from utils.study import GRID_TOLERANCE_MM
from utils.upload import read_head, refuse, unpacked
from utils.volume import Values, Volume

VOXELS_START = 352
READER_TOLERANCE_MM = 1e-3
"""How far two readers may place a corner apart; what float32 header fields can round away."""

_UNITS, _QFORM_CODE = 123, 252  # byte offsets of those NIfTI-1 fields
_UNREADABLE = (HeaderDataError, ImageFileError, ValueError, OSError)  # what nibabel raises
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_comparing = Lock()  # ITK holds a scan twice while it reads it: two scans at a time are too many


def read_nifti(
    data: bytes, name: str, *, labels: bool = False, millimetres: bool = False
) -> tuple[Volume, tuple[Notice, ...]]:
    """Read one scan, or one label map.

    Parameters
    ----------
    data : bytes
        Content of a ``.nii`` or ``.nii.gz`` file, whatever its name says.
    name : str
        How messages name the scan.
    labels : bool
        Read a label map, whose values are taken as they are.
    millimetres : bool
        A person has confirmed that the header's numbers are millimetres, whatever it says.

    Returns
    -------
    volume : Volume
        Finite float32 values, air 0, on the file's grid; of a label map the stored values.
    notices : tuple of Notice
        Every repair that was made.

    Raises
    ------
    UnreadableVolumeError
        If anything about the file leaves doubt about its voxels or its orientation; an
        `UnconfirmedUnitError` if a person can clear that doubt.
    """
    subject = display_name(name)
    header, notices = parse_header(read_head(data, subject), subject, millimetres=millimetres)
    with unpacked(data, subject, header.promised) as (path, extra):
        values = _agreed_values(path, header, subject)
    if extra:
        text = f"{subject}: {extra:,} extra bytes behind the voxels were ignored."
        notices = (*notices, Notice("extra-bytes", subject, text))
    if labels:
        return Volume(values, header.grid), notices
    values, repairs = repair(values, subject)
    return Volume.compact(values, header.grid), (*notices, *repairs)


def write_labels(labels: NDArray[np.uint8], grid: Grid) -> bytes:
    """Write a mask that lies exactly on the scan it was made from.

    Parameters
    ----------
    labels : (I, J, K) uint8 array
        One label a voxel.
    grid : Grid
        The scan's grid; its `forms`, if it has any, are repeated bit for bit.

    Returns
    -------
    bytes
        A ``.nii.gz`` file, the same for the same mask: no time, no name, no text of the upload.

    Raises
    ------
    MaskNotVerifiedError
        If nibabel or SimpleITK reads anything else back.
    """
    if labels.dtype != np.uint8:
        raise MaskNotVerifiedError(_unverified(f"its labels are {labels.dtype}, not bytes"))
    stored = _mask_header(grid).binaryblock + b"\0" * 4 + labels.tobytes(order="F")
    data = gzip.compress(stored, compresslevel=6, mtime=0)
    verify_labels(data, labels, grid)
    return data


def verify_labels(data: bytes, labels: NDArray[np.uint8], grid: Grid) -> None:
    """Read a written mask back with nibabel and with SimpleITK.

    Raises
    ------
    MaskNotVerifiedError
        Unless both find this shape, this position and these labels, and the forms are the grid's.
    """
    try:
        _verify(data, labels, grid)
    except (*_UNREADABLE, RuntimeError) as error:  # the last is ITK's
        raise MaskNotVerifiedError(_unverified("it cannot be read back")) from error


def _verify(data: bytes, labels: NDArray[np.uint8], grid: Grid) -> None:
    header = nib.Nifti1Header(read_head(data, "The mask")[:348], check=False)
    if header.get_data_dtype() != np.uint8:
        raise MaskNotVerifiedError(_unverified("its labels are not stored as bytes"))
    if _form_fields(header) != _form_fields(_mask_header(grid)):
        raise MaskNotVerifiedError(_unverified("its header does not repeat the scan's"))
    with unpacked(data, "The mask", VOXELS_START + labels.size) as (path, _):
        stored, placed = _read_with_nibabel(path)
        readings = [(np.asarray(stored), placed, [grid.affine])]
        readings.append((*_read_with_itk(path), _affines_for_itk(forms_of(header))))
    for values, affine, expected in readings:
        if not np.array_equal(values, labels):
            raise MaskNotVerifiedError(_unverified("its labels changed"))
        shift = min(_shift_mm(grid.shape, affine, stated) for stated in expected)
        if shift > READER_TOLERANCE_MM:
            raise MaskNotVerifiedError(_unverified(f"it moved by {shift:.3f} mm"))


def _agreed_values(path: Path, header: Header, subject: str) -> Values:
    """Voxel values as both readers see them; those of nibabel, as `_narrowed` keeps them."""
    try:
        stored, affine = _read_with_nibabel(path)
        values = _narrowed(stored, header, subject)
    except _UNREADABLE:
        refuse(subject, "the header is damaged (nibabel cannot read it)", "Export the scan again")
    # the grid of a NIfTI-2 scan is what the NIfTI-1 header of its mask can state
    tolerance_mm = READER_TOLERANCE_MM if header.version == 1 else GRID_TOLERANCE_MM
    if _shift_mm(header.grid.shape, affine, header.grid.affine) > tolerance_mm:
        _refuse_disagreement(subject, "where the scan lies")
    if header.version == 1:  # this ITK reads no NIfTI-2
        if header.forms_differ:  # ITK may prefer the qform; the sform is what both shall read
            _overwrite(path, _QFORM_CODE, b"\0\0")
        if header.false_unit:  # ITK would believe it
            _overwrite(path, _UNITS, b"\0")
        with _comparing:
            _compare_with_itk(path, values, header, subject)
    return values


def _narrowed(stored: ArrayProxy, header: Header, subject: str) -> Values:
    """(I, J, K) values: int16 where the file's own numbers fit into that, else float32."""
    shape = header.grid.shape
    if not header.scaled and np.can_cast(stored.dtype, np.float32):
        kept: Any = np.int16 if np.can_cast(stored.dtype, np.int16) else np.float32
        return np.asarray(stored).reshape(shape).astype(kept, order="F", copy=False)
    values = np.empty(shape, np.float32, order="F")
    too_large = 0
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is counted
        for k in range(shape[-1]):  # doubles of a slice, not of the volume
            exact = np.asarray(stored[:, :, k]).reshape(shape[:2])
            values[..., k] = exact
            too_large += int((np.isinf(values[..., k]) & np.isfinite(exact)).sum())
    if too_large > FEW * values.size:
        finding = f"{too_large:,} voxels hold numbers too large to be MR intensities"
        refuse(subject, finding, "Export the scan again without a scale factor")
    return values


def _compare_with_itk(path: Path, values: Values, header: Header, subject: str) -> None:
    try:
        witness, affine = _read_with_itk(path)
    except RuntimeError:
        refuse(subject, "the header is damaged (ITK cannot read it)", "Export the scan again")
    if witness.size != values.size:
        _refuse_disagreement(subject, "its size")
    # qform and sform may differ by the tolerance, and ITK is free to choose
    if _shift_mm(header.grid.shape, affine, header.grid.affine) > 1.01 * GRID_TOLERANCE_MM:
        _refuse_disagreement(subject, "where the scan lies")
    if not _same_values(values, witness.reshape(values.shape)):
        _refuse_disagreement(subject, "the voxel values")


def _read_with_nibabel(path: Path) -> tuple[ArrayProxy, NDArray[np.float64]]:
    """Values that are read from the file when they are asked for, and the affine in RAS+."""
    try:
        image: Any = nib.load(path, mmap=False)
    except MemoryError as error:  # no voxel is read yet: an extension lies about its size
        raise HeaderDataError("impossible extension") from error
    return image.dataobj, np.asarray(image.affine)


def _read_with_itk(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Values in (I, J, K, ...) order, and the affine in RAS+."""
    reader: Any = SimpleITK.ImageFileReader()  # type: ignore[no-untyped-call]
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    image = reader.Execute()
    axes = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (axes, axes))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return SimpleITK.GetArrayFromImage(image).T, _LPS_TO_RAS @ affine


def _same_values(first: Values, second: NDArray[np.generic]) -> bool:
    """Compare slice by slice: copies of a whole volume are large."""
    slices = range(first.shape[-1])
    return all(_same_slice(first[..., k], second[..., k]) for k in slices)


def _same_slice(first: Values, second: NDArray[np.generic]) -> bool:
    if first.dtype != second.dtype:
        with np.errstate(over="ignore", invalid="ignore"):
            first, second = first.astype(np.float32), second.astype(np.float32)
    if np.array_equal(first, second):
        return True
    finite = np.isfinite(first)  # ITK reads NaN and infinity as 0; what they mean `repair` decides
    # scaled values may differ in the last bit of a float32
    return np.allclose(first[finite], second[finite], rtol=1e-5, atol=1e-6)


def _shift_mm(
    shape: tuple[int, int, int], first: NDArray[np.float64], second: NDArray[np.float64]
) -> float:
    """Largest distance between matching corners of one array under two affines."""
    if not np.isfinite(first).all() or abs(np.linalg.det(first)) < 1e-9:
        return float("inf")
    return Grid(shape, first).displacement_mm(Grid(shape, second))


def _overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def _mask_header(grid: Grid) -> nib.Nifti1Header:
    """Make the header of a mask on a grid: geometry and data type, none of the upload's text."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(grid.shape)
    header.set_xyzt_units("mm")
    header["vox_offset"] = VOXELS_START
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["descrip"] = DESCRIPTION
    if grid.forms is None:
        header.set_sform(grid.affine, 1)
        header.set_qform(grid.affine, 1)
        return header
    forms = grid.forms
    header["qform_code"], header["sform_code"] = forms.qform_code, forms.sform_code
    header["pixdim"][:4] = forms.pixdim
    for axis, value in zip("bcd", forms.quaternion, strict=True):
        header[f"quatern_{axis}"] = value
    for axis, value in zip("xyz", forms.offset, strict=True):
        header[f"qoffset_{axis}"] = value
    for axis, row in zip("xyz", np.reshape(forms.srow, (3, 4)), strict=True):
        header[f"srow_{axis}"] = row
    return header


def _form_fields(header: nib.Nifti1Header) -> bytes:
    """Cut out the bytes that state a grid: dim, pixdim, both codes, quaternion, offset and srow."""
    block = header.binaryblock
    return bytes(block[40:56] + block[76:92] + block[252:328])


def _affines_for_itk(forms: NiftiForms) -> list[NDArray[np.float64]]:
    """List where ITK may place a header: by its sform or its qform, in voxels of its pixdim.

    A scan's pixdim may differ from its sform within the gate's tolerance. The mask repeats both,
    for ITK calculates with two images only if it reads one grid from them.
    """
    affines = []
    if forms.sform_code > 0:
        affine = sform_affine(forms)
        affine[:3, :3] *= forms.pixdim[1:4] / np.linalg.norm(affine[:3, :3], axis=0)
        affines.append(affine)
    if forms.qform_code > 0:
        affines.append(qform_affine(forms, ITK_ROUNDING))
    return affines


def _refuse_disagreement(subject: str, about: str) -> None:
    refuse(
        subject,
        f"two programs that read this file (nibabel and ITK) disagree on {about}",
        "Export the scan again from the original DICOM with dcm2niix",
    )


def _unverified(finding: str) -> str:
    return f"The mask failed its check after writing ({finding}) and is not offered. Report this."
