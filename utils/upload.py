"""Uploaded bytes to the NIfTI stream inside them: sniffed, bounded, checked to the last byte."""

import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from utils.errors import UnreadableVolumeError

GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 544
"""A NIfTI-2 header and its extension flag; a NIfTI-1 header is 348 + 4."""

TRAILING_BYTES = 16 * 2**20
"""Decompressed bytes tolerated after the voxels; more is a bomb, not a file that was padded."""

MAX_MEMBERS = 10_000
"""Gzip members in one file; bgzip makes 1,700 of the largest scan, one for each 64 KiB."""

_CHUNK = 2**20
_FEED = 2**16  # zlib copies what it was given of the next member
_FOREIGN = (  # (offset, bytes found there, what it is, what to do)
    (128, b"DICM", "a DICOM file", "Convert the series with dcm2niix"),
    (0, b"\x08\x00\x05\x00", "a DICOM file", "Convert the series with dcm2niix"),
    (0, b"\x02\x00\x00\x00", "a DICOM file", "Convert the series with dcm2niix"),
    (0, b"version https://git-lfs", "a git-LFS pointer", "Fetch the real file with git lfs pull"),
    (0, b"PK\x03\x04", "a ZIP archive", "Unzip it and choose the NIfTI file inside"),
    (0, b"PK\x05\x06", "an empty ZIP archive", "Choose a NIfTI file"),
    (0, GZIP_MAGIC, "a file compressed twice", "Unpack it once"),
    (0, b"BZh", "a bzip2 archive", "Unpack it"),
    (0, b"\xfd7zXZ", "an xz archive", "Unpack it"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it"),
    (0, b"Rar!", "a RAR archive", "Unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it"),
    (257, b"ustar", "a tar archive", "Unpack it and choose the NIfTI file inside"),
    (0, b"\x89PNG", "a PNG picture", "Choose the NIfTI file"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "Choose the NIfTI file"),
    (0, b"%PDF", "a PDF document", "Choose the NIfTI file"),
    (0, b"NRRD", "an NRRD file", "Convert it to NIfTI"),
    (0, b"\x89HDF", "an HDF5 file (MINC, MATLAB or weights)", "Convert it to NIfTI"),
    (0, b"CDF", "a netCDF file (MINC)", "Convert it to NIfTI"),
    (0, b"\x93NUMPY", "a NumPy array without a grid", "Save it as NIfTI with its affine"),
    (0, b"\x00\x00\x00\x01\x00", "a FreeSurfer MGH file", "Convert it with mri_convert"),
    (0, b"MATLAB", "a MATLAB file", "Convert it to NIfTI"),
)


def refuse(subject: str, finding: str, next_step: str) -> NoReturn:
    """Raise `UnreadableVolumeError` in the one form all refusals have."""
    raise UnreadableVolumeError(f"{subject}: {finding}. {next_step}.")


def read_head(data: bytes, subject: str) -> bytes:
    """Return the first ``HEAD_BYTES`` of the NIfTI stream, unpacking at most a mebibyte.

    Raises
    ------
    UnreadableVolumeError
        If the content is empty, cut inside the header, damaged, or of a known other kind.
    """
    if not data:
        refuse(subject, "the file is empty (0 bytes)", "Send it again")
    head = b""
    for piece in _stream(data, subject):
        head += piece[: HEAD_BYTES - len(head)]
        if len(head) == HEAD_BYTES:
            break
    _refuse_foreign(head, subject)
    return head


@contextmanager
def unpacked(data: bytes, subject: str, promised: int) -> Iterator[tuple[Path, int]]:
    """Unpack the first `promised` bytes of the stream into a file that only this process sees.

    Yields
    ------
    path : Path
        A ``.nii`` file that is gone when the context ends.
    extra : int
        Bytes found behind the promised ones; they were read for their checksum and dropped.

    Raises
    ------
    UnreadableVolumeError
        If the stream is cut, fails its checksum, or holds far more than its header promises.
    """
    with _private_file() as (path, file):
        found = 0
        for piece in _stream(data, subject):
            if found < promised:
                file.write(piece[: promised - found])
            found += len(piece)
            if data.startswith(GZIP_MAGIC) and found > promised + TRAILING_BYTES:
                refuse(
                    subject,
                    f"it unpacks to more than the {promised:,} bytes that its header announces",
                    "Export the scan again",
                )
        if found < promised:
            _refuse_incomplete(subject, f"{found:,} of {promised:,} bytes are there")
        file.flush()
        yield path, found - promised


def _stream(data: bytes, subject: str) -> Iterator[memoryview | bytes]:
    """Decompress in pieces of at most ``_CHUNK``, checking every checksum on the way."""
    rest = memoryview(data)
    if bytes(rest[:2]) != GZIP_MAGIC:
        yield rest
        return
    members = 0
    while bytes(rest[:2]) == GZIP_MAGIC:
        members += 1
        if members > MAX_MEMBERS:
            finding = f"it is compressed in more than {MAX_MEMBERS:,} pieces"
            refuse(subject, finding, "Unpack it and compress it again")
        decompressor = zlib.decompressobj(wbits=31)
        pending: memoryview | bytes = b""
        while not decompressor.eof:
            if not pending:
                pending, rest = rest[:_FEED], rest[_FEED:]
            try:
                piece = decompressor.decompress(pending, _CHUNK)
            except zlib.error:
                _refuse_damaged(subject)
            pending = decompressor.unconsumed_tail
            yield piece
            if not (piece or pending or rest or decompressor.eof):
                _refuse_incomplete(subject, "the compressed stream stops before its end")
        rest = memoryview(data)[len(data) - len(rest) - len(decompressor.unused_data) :]
    yield rest  # padding or garbage behind the last gzip member


@contextmanager
def _private_file() -> Iterator[tuple[Path, BinaryIO]]:
    """Make a file in memory that SimpleITK can open by name.

    ITK reads files, not bytes. On Linux the scan stays in anonymous memory that vanishes with the
    process, however it ends; only a symbolic link to it, without content, stands on the disk.
    """
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:  # created with mode 700
        path = Path(folder) / "scan.nii"
        if hasattr(os, "memfd_create"):
            with os.fdopen(os.memfd_create("scan"), "w+b") as file:
                path.symlink_to(f"/proc/{os.getpid()}/fd/{file.fileno()}")
                yield path, file
        else:
            with path.open("w+b") as file:
                yield path, file


def _refuse_foreign(head: bytes, subject: str) -> None:
    for offset, magic, kind, next_step in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            refuse(subject, f"this is {kind}, not a NIfTI scan", next_step)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        refuse(
            subject,
            "this is a web page, not a NIfTI scan",
            "The download probably asked for a login; fetch the file again in the browser",
        )


def _refuse_damaged(subject: str) -> NoReturn:
    refuse(
        subject,
        "the file is damaged (its compressed data fail their checksum)",
        "Copy it again from its source and send it again",
    )


def _refuse_incomplete(subject: str, amount: str) -> NoReturn:
    refuse(subject, f"the upload is incomplete ({amount})", "Send it again")
