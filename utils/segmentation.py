"""What the model says about a study."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.grid import Grid
from utils.labels import Label, Region

CERTAIN = 255
"""Stored probability that means 1.0: a byte is finer than the network's own calibration."""


@dataclass(frozen=True)
class Provenance:
    """How a segmentation came to be; written into every export.

    Attributes
    ----------
    model_id : str
        Name of the model folder.
    weights_sha256 : str
        Hash of the weights that ran; of several networks that of their hashes (`model.bundle`).
    runtime : str
        Backend and device, e.g. ``"openvino on CPU"``.
    seconds : float
        Time from study to labels.
    steps : tuple of str
        What was done to the scans, in order, in plain words.
    notices : tuple of str
        What a reader must know about these scans before trusting the result.
    finished_utc : str
        When the run ended, ISO 8601 in UTC, e.g. ``"2026-11-23T03:16:16Z"``; empty if unknown.
    corrections : tuple of str
        What a reader has changed since, in plain words.
    """

    model_id: str
    weights_sha256: str
    runtime: str
    seconds: float
    steps: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    finished_utc: str = ""
    corrections: tuple[str, ...] = ()

    @property
    def told(self) -> tuple[str, ...]:
        """All that was done, for a reader: the steps, then the corrections."""
        return (*self.steps, *(f"corrected by the reader: {text}" for text in self.corrections))


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Predicted labels on the study's own grid.

    Attributes
    ----------
    labels : (I, J, K) uint8 array, read-only
        Values of `utils.labels.Label`.
    probabilities : (I, J, K, 3) uint8 array, read-only
        Probability of each `Region`, in its definition order, times ``CERTAIN``.
    grid : Grid
        The grid of the study as uploaded.
    provenance : Provenance
        Model, steps and notices.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.uint8]
    grid: Grid
    provenance: Provenance

    def __post_init__(self) -> None:
        if self.labels.shape != self.grid.shape:
            raise ValueError(f"labels {self.labels.shape} do not fit the grid {self.grid.shape}")
        if self.probabilities.shape != (*self.grid.shape, len(Region)):
            raise ValueError(f"probabilities {self.probabilities.shape} do not fit the grid")
        strangers = set(np.unique(self.labels).tolist()) - set(Label)
        if strangers:
            raise ValueError(f"labels hold values that BraTS does not define: {sorted(strangers)}")
        self.labels.flags.writeable = False
        self.probabilities.flags.writeable = False
