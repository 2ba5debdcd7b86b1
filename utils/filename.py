"""File names as clients send them: which modality they state, and how to show them safely."""

import re
import unicodedata
from collections.abc import Sequence

from utils.study import Modality

SHOWN_LENGTH = 60
"""Characters of a name that are shown; beyond that its middle is left out."""

_SEGMENTATION = re.compile(
    r"(brain)?masks?|seg|segm|segmentations?|labels?|gt|truth|groundtruth|roi"
)
_OTHER_SERIES = re.compile(
    r"t2(star|s|gre)|star|swi|dwi|dti|adc|pd|pdw|bold|asl|perf|cbv|trace|ct|pet"
)
_FLAIR = re.compile(r"(t2w?)?(flair|tirm)w?|t2f|darkfluid|flr")
_T1CE = re.compile(
    r"t1w?(ce|c|gd|gad|gado|gadolinium|post|postgd|postcontrast|contrast|km|cm|enhanced|plusc)w?"
    r"|(ce|gd|post|contrast)t1w?"
)
_T1 = re.compile(r"t1(w|n|native|pre|precontrast|nce|mprage|spgr|se|tse|fse|wn)?")
_T2 = re.compile(r"t2(w|n|tse|fse|frfse|space|se)?")
_CONTRAST = re.compile(
    r"ce|c|gd|gad|gado|gadolinium|post|postgd|postcontrast|contrast|km|cm|enhanced"
)
_NO_CONTRAST = re.compile(r"pre|precontrast|native|non|no|without|noncontrast|plain|unenhanced|n")
_NEUTRAL = re.compile(
    r"\d*|w|with|mprage|spgr|bravo|vibe|space|se|tse|fse|fl2d|[23]d|ax|axial|tra|sag|cor|fs|iso"
)
_EXTENSION = re.compile(r"(\.(nii|hdr|img|dcm|gz|mgz|nrrd|zip))+$", re.IGNORECASE)
_SIDECAR = re.compile(
    r"\.(json|bval|bvec|txt|csv|tsv|md|png|jpe?g|pdf|xml|ya?ml|mat|log|html?)$", re.IGNORECASE
)
_BESIDES_SCANS = re.compile(r"(^|/)(\.|__MACOSX/)|(^|/)(Thumbs\.db|desktop\.ini)$")
_VOCABULARY = (_SEGMENTATION, _OTHER_SERIES, _FLAIR, _T1CE, _T1, _T2, _CONTRAST, _NO_CONTRAST)


def display_name(name: str) -> str:
    """Show a client's file name on a screen, harmlessly.

    Only the base name is left; control, formatting and right-to-left characters and what
    HTML or Markdown could take for a command become ``_``; long names lose their middle. It
    may still hold a patient's name: show it to its sender, never write it anywhere (`label_of`).
    """
    base = re.split(r"[\\/]", name)[-1]
    shown = "".join(c if _is_harmless(c) else "_" for c in base).strip()
    if len(shown) > SHOWN_LENGTH:
        shown = f"{shown[: SHOWN_LENGTH - 20]}…{shown[-19:]}"
    return shown or "unnamed file"


def label_of(name: str) -> str:
    """Name a file by its radiological words alone: ``DOE_JANE_t1ce.nii.gz`` is ``…t1ce.nii.gz``.

    What is left comes from this module's vocabulary: it can stand in a report, a log or an error.
    """
    base = re.split(r"[\\/]", name)[-1]
    extension = _EXTENSION.search(base)
    suffix = extension.group().lower() if extension else ""
    tokens = _tokens(base)
    known = [t for t in tokens if any(words.fullmatch(t) for words in _VOCABULARY)]
    return ("" if known == tokens and known else "…") + "_".join(known) + suffix


def assign(names: Sequence[str]) -> dict[Modality, str]:
    """Find which file is which modality, from the names alone and without guessing.

    Parameters
    ----------
    names : sequence of str
        Names or paths of the files of one study, in any order.

    Returns
    -------
    dict of Modality to str
        The modalities that exactly one name states. Two candidates, a name that states none or two
        (``t1_t2.nii``), segmentations and other series (``t2star``) are left out.
    """
    return {m: found[0] for m, found in candidates(names).items() if len(found) == 1}


def candidates(names: Sequence[str]) -> dict[Modality, list[str]]:
    """List every name that states a modality, by modality; `assign` wants just one each."""
    scans = [n for n in names if not _SIDECAR.search(n) and not _BESIDES_SCANS.search(n)]
    headers = {n[:-4].lower() for n in scans if n.lower().endswith(".hdr")}
    scans = [n for n in scans if not (n.lower().endswith(".img") and n[:-4].lower() in headers)]
    tokens = {name: _tokens(re.split(r"[\\/]", name)[-1]) for name in scans}
    case = len(_case_prefix(list(tokens.values()))) if len(tokens) > 1 else 0
    stated = {name: _stated(words[case:]) for name, words in tokens.items()}
    found = {m: [name for name in scans if stated[name] is m] for m in Modality}
    return {m: found[m] for m in Modality if found[m]}


def is_segmentation(name: str) -> bool:
    """Whether a name states a segmentation, e.g. ``BraTS20_Training_001_seg.nii``."""
    return any(_SEGMENTATION.fullmatch(t) for t in _tokens(re.split(r"[\\/]", name)[-1]))


def _case_prefix(names: list[list[str]]) -> list[str]:
    """Find the leading words that all names share, up to the first that states a modality.

    "POST_17_t1.nii" beside "POST_17_t2.nii": what all start with is the case, not the contrast.
    """
    prefix = []
    for words in zip(*names, strict=False):
        if len(set(words)) > 1 or any(p.fullmatch(words[0]) for p in (_FLAIR, _T1CE, _T1, _T2)):
            break
        prefix.append(words[0])
    return prefix


def _stated(tokens: list[str]) -> Modality | None:
    """Return the one modality that the words of a name state; None if none or several do."""
    if any(_SEGMENTATION.fullmatch(t) or _OTHER_SERIES.fullmatch(t) for t in tokens):
        return None
    flair, t1ce, t1, t2 = (
        any(words.fullmatch(t) for t in tokens) for words in (_FLAIR, _T1CE, _T1, _T2)
    )
    if (t1 or t1ce) and (flair or t2):
        return None  # T1-FLAIR exists, and so do subtraction images
    if flair:
        return Modality.FLAIR
    if t1ce:
        return Modality.T1CE
    if t1:
        return _with_or_without_contrast(tokens)
    return Modality.T2 if t2 else None


def _with_or_without_contrast(tokens: list[str]) -> Modality | None:
    """T1 or T1ce, from the words beside ``t1``; None if a contrast word stands elsewhere."""
    told = [t for t in tokens if _T1.fullmatch(t) or not _NEUTRAL.fullmatch(t)]
    if any(_NO_CONTRAST.fullmatch(t) for t in told):
        return Modality.T1
    marked = [i for i, t in enumerate(told) if _CONTRAST.fullmatch(t)]
    if not marked:
        return Modality.T1
    at = next(i for i, t in enumerate(told) if _T1.fullmatch(t))
    # "post_op_t1" is after surgery, "t1_post" after contrast: only a neighbour counts
    return Modality.T1CE if any(abs(i - at) == 1 for i in marked) else None


def _tokens(base: str) -> list[str]:
    """Words of a base name in lower case, without its extension."""
    stem = _EXTENSION.sub("", base).lower().replace("+c", "_c")
    return [t for t in re.split(r"[^a-z0-9]+", stem) if t]


def _is_harmless(character: str) -> bool:
    if unicodedata.bidirectional(character) in {"R", "AL", "AN"}:
        return False
    return character.isalnum() or character in " ._-+,()=…"
