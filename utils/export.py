"""Files a clinician takes home; each says how it came to be.

None holds a file name, the time of the download, or any text of the scans.
"""

import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from utils.labels import Region
from utils.measure import label_volumes_ml
from utils.plane import Plane
from utils.render import FILLED, RESEARCH_USE, Style, View, key_slice, slice_png
from utils.report import NO_NOTES, ReportNotes, report_pdf
from utils.sidecar import PROGRAM, VERSION, Result, provenance_line, sidecar_json
from utils.study import Modality

CSV_COLUMNS = (
    *("mask", "kind", "name", "title", "volume_ml", "voxels"),
    *("notice", "program", "model", "weights_sha256", "device", "seconds", "finished_utc"),
    *(f"{modality.value}_sha256" for modality in Modality),
    *("steps", "notices"),
)
OWN, CORRECTED = "segmentation", "segmentation-corrected"
"""Names of the model's mask and of one that a reader has corrected, without extension."""

CSV_NAME = "volumes.csv"
REPORT_NAME = "report.pdf"
PNG_KEYWORD = "provenance"

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can state: it says "no time"
_UNIX = 3
_READABLE_FILE = 0o100644
_IEND_BYTES = 12  # a PNG's last chunk


def volumes_csv(result: Result) -> bytes:
    """Write one row a tumour label, a region and a lesion, under ``CSV_COLUMNS``; UTF-8.

    Labels exclude each other; regions are nested, so their rows must not be added up, and nor must
    a lesion's and its foci's. Below the rows of a corrected mask stand those of the model's own.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for each in _with_own(result):
        found = each.burden
        for label, volume_ml in label_volumes_ml(found.labels, found.grid).items():
            writer.writerow(_row(each, ("label", label.name, label.title), volume_ml))
        for region, volume_ml in found.volumes_ml.items():
            writer.writerow(_row(each, ("region", region.name, region.title), volume_ml))
        for entry in found.entries:
            kind = "lesion" if entry.region is Region.WT else "focus"
            writer.writerow(_row(each, (kind, entry.name, entry.title), entry.part.volume_ml))
    return table.getvalue().encode()


def picture_png(result: Result, modality: Modality, view: View, style: Style = FILLED) -> bytes:
    """Paint one slice of a scan and its labels, with the provenance in the PNG's own text."""
    scan = result.study.scans[modality]
    png = slice_png(scan, result.segmentation.labels, view, style)
    return _with_text(png, PNG_KEYWORD, provenance_line(result))


def bundle_zip(result: Result, notes: ReportNotes = NO_NOTES) -> bytes:
    """Pack mask, sidecar, volumes, report and one outlined T1ce slice a plane into one ZIP.

    A corrected mask comes with the model's own, each with its sidecar.
    Made twice of one run it is the same byte for byte, whenever and wherever the package versions
    are the same.
    """
    files = {}
    for each in _with_own(result):
        files[f"{mask_stem(each)}.nii.gz"] = each.mask
        files[f"{mask_stem(each)}.json"] = sidecar_json(each)
    files |= {CSV_NAME: volumes_csv(result), REPORT_NAME: report_pdf(result, notes)}
    files |= {f"{plane.name.lower()}.png": _key_picture(result, plane) for plane in Plane}
    return _zip(files)


def mask_stem(result: Result) -> str:
    """Name a mask so that a corrected one is never taken for the model's."""
    return OWN if result.own is None else CORRECTED


def _with_own(result: Result) -> tuple[Result, ...]:
    return (result,) if result.own is None else (result, result.own)


def _row(result: Result, what: tuple[str, str, str], volume_ml: float) -> tuple[str, ...]:
    made_by = result.segmentation.provenance
    return (
        "model" if result.own is None else "corrected",
        *what,
        f"{volume_ml:.4f}",
        str(round(volume_ml / result.segmentation.grid.voxel_volume_ml)),
        RESEARCH_USE,
        f"{PROGRAM} {VERSION}",
        made_by.model_id,
        made_by.weights_sha256,
        made_by.runtime,
        f"{made_by.seconds:g}",
        made_by.finished_utc,
        *(result.input_sha256[modality] for modality in Modality),
        "; ".join(made_by.told),
        "; ".join(made_by.notices),
    )


def _key_picture(result: Result, plane: Plane) -> bytes:
    segmentation = result.segmentation
    view = View(plane, key_slice(segmentation.labels, segmentation.grid, plane))
    return picture_png(result, Modality.T1CE, view, Style(outline=True))


def _with_text(png: bytes, keyword: str, text: str) -> bytes:
    """Add an ASCII text chunk before the end of a PNG file."""
    content = f"{keyword}\0{text}".encode("ascii")
    checksum = struct.pack(">I", zlib.crc32(b"tEXt" + content))
    chunk = struct.pack(">I", len(content)) + b"tEXt" + content + checksum
    return png[:-_IEND_BYTES] + chunk + png[-_IEND_BYTES:]


def _zip(files: Mapping[str, bytes]) -> bytes:
    """Store, do not deflate: most is compressed already, and zlib's bytes differ by version."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.create_system = _UNIX  # else the platform's own
            entry.external_attr = _READABLE_FILE << 16
            archive.writestr(entry, content)
    return file.getvalue()
