"""Help: what the app needs, what it gives, how to read it."""

import numpy as np
import streamlit as st

from utils.header import MAX_BYTES, MAX_VOXELS
from utils.labels import TUMOUR_LABELS, Region

HOW_TO = f"""
### What you need

Four MRI scans of one visit, as NIfTI (`.nii` or `.nii.gz`): **FLAIR, T1, T1ce** (with contrast
agent) and **T2**, co-registered with each other and **skull-stripped**, before treatment. Scans as
the scanner gives them need this preparation first; DICOM is converted with `dcm2niix`, registration
and skull-stripping are done by tools such as BraTS Toolkit or FSL.

Any orientation is accepted, voxels of 0.1 to 20 mm, 16 slices or more, up to
{MAX_VOXELS / 1e6:.0f} million voxels and {MAX_BYTES / 1e6:.0f} MB a scan once unpacked; the network
itself sees 1 mm voxels, and the mask comes back on **your** voxels.

### What you do

1. Drop the four files (or one ZIP of them) on the *Segment* page. They are sorted into the four
   slots by their names; correct a slot if it is wrong.
2. Read what the check found. Green: fine. Amber: read it, and decide. Red: the scan is refused, and
   the sentence says what to do.
3. *Segment*. Then scroll, read the volumes and how far they may be off, and let *Where to look*
   lead you to the slices the network doubts most.
4. *Correct* if you must: a threshold for each part, lesions kept or removed, a smallest size.
   Every number follows; *Undo* takes it back. Painting is done elsewhere, in ITK-SNAP for instance.
5. Take home the mask, its sidecar (how it was made), volumes, pictures, the report, or all as ZIP.

No data? *Demo study* shows everything on a synthetic head whose tumour is known.

### The viewer

Mouse wheel or arrow keys: slices. Keys 1 to 4: FLAIR, T1, T1ce, T2. Right button: brightness and
contrast, double click resets. `?` lists all keys. The buttons beside the picture show planes, parts
of the tumour, opacity and outlines. L and R are the **patient's** left and right, taken from the
file's own coordinates.

### The other pages

- *Follow-up*: the study on screen against an earlier mask; what grew, shrank, came and went, with
  the arithmetic of RANO spelled out and no verdict.
- *Compare*: a mask against a reference mask, with the usual scores and the differences in colour.
- *Self-test*: a synthetic head through everything on this computer, checked.
- *Model*: what was trained on what, and how good it is on patients it never saw.
"""

PRIVACY = """
### Where your scans go

Nowhere. They stay in this computer's memory, are not written to disk (under Linux), and are gone
after *Erase* or soon after the tab is closed. The app makes no connection to any other computer.
File names and header text are not copied into what you download.

### What it is not

Not a medical device, not a diagnosis, and no substitute for a radiologist. It was trained on
gliomas before treatment; it may mark something in a healthy head, and miss what it has not seen.
The *Model* page says how often it was wrong.
"""

st.title("Help")
st.markdown(HOW_TO)
st.markdown("### What the colours mean")
for label in TUMOUR_LABELS:
    swatch, name = st.columns([1, 30], vertical_alignment="center")
    swatch.image(np.full((24, 24, 3), label.colour, np.uint8), width=24)
    name.markdown(label.title)
parts = {
    region: " + ".join(label.title.lower() for label in TUMOUR_LABELS if label in region.value)
    for region in Region
}
st.markdown(
    "The volumes are those of three nested regions:\n\n"
    + "\n".join(f"- **{region.title} ({region.name})**: {text}" for region, text in parts.items())
)
st.markdown(PRIVACY)
