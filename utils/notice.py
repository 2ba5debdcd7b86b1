"""What a reader must know about accepted scans: one vocabulary for page, report and log."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """One thing that was found, and what was done about it.

    Attributes
    ----------
    code : str
        Which rule spoke, e.g. ``"extra-bytes"``; stable, for tests and machines.
    subject : str
        What it is about: a scan as the person knows it, or ``"study"``.
    text : str
        One plain sentence that names the subject, the finding and what was done.
    consent : bool
        True if nothing may run before the person has said "go on".
    """

    code: str
    subject: str
    text: str
    consent: bool = False
