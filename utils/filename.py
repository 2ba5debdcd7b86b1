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
_AGENT = r"ce|c|gd|gad|gado|gadolinium|contraste?|kontrast|kontrastmittel|km|cm|enhanced"
_CONTRAST = re.compile(rf"{_AGENT}|post|postgd|postcontrast")
_WITH = r"with|after|mit|nach|avec|apres"
_WITHOUT = r"wo|without|no|non|pre|before|ohne|vor|sans|avant"
_DENIED = re.compile(rf"\b({_WITHOUT}) ({_AGENT})\b")
_BOTH = re.compile(rf"\b(w wo|wo w|({_WITH}) ({_WITHOUT})|({_WITHOUT}) ({_WITH}))\b")
_NO_CONTRAST = re.compile(rf"{_WITHOUT}|precontrast|native?|noncontrast|plain|unenhanced|n")
_NEUTRAL = re.compile(
    rf"\d*|w|{_WITH}|mprage|spgr|bravo|vibe|space|se|tse|fse|fl2d|[23]d|ax|axial|tra|sag|cor|fs|iso"
)
_MINUS = re.compile(  # "T1 C-", "T1 -Gd", "T1C-"; in "ce-T1w" and "t1-c" it is a hyphen
    rf"((?<![a-z0-9-])[-\u2013\u2212](?P<behind>{_AGENT})"
    rf"|(?<![a-z0-9])(?P<t1>t1w?)?(?P<ahead>{_AGENT})[-\u2013\u2212])(?![a-z0-9-])"
)
_EXTENSION = re.compile(
    r"(\.(nii|hdr|img|dcm|mgz|mgh|mnc|nrrd|gz|bz2|xz|zst|7z|rar|tar|zip))+$", re.IGNORECASE
)
_ANY_EXTENSION = re.compile(r"\.([a-z][a-z0-9]{0,9})$", re.IGNORECASE)
_IMG = re.compile(r"\.img(|\.gz)$", re.IGNORECASE)
_BESIDES_SCANS = re.compile(r"(^|/)(\.|__MACOSX/)")
_VOCABULARY = (_SEGMENTATION, _OTHER_SERIES, _FLAIR, _T1CE, _T1, _T2, _CONTRAST, _NO_CONTRAST)


def display_name(name: str) -> str:
    """Show a client's file name on a screen, harmlessly.

    Only the base name is left; control, formatting and right-to-left characters and what
    HTML or Markdown could take for a command become ``_``; long names lose their middle. It
    may still hold a patient's name: show it to its sender, never write it anywhere (`label_of`).
    """
    shown = "".join(c if _is_harmless(c) else "_" for c in _base(name)).strip()
    if len(shown) > SHOWN_LENGTH:
        shown = f"{shown[: SHOWN_LENGTH - 20]}…{shown[-19:]}"
    return shown or "unnamed file"


def label_of(name: str) -> str:
    """Name a file by its radiological words alone: ``DOE_JANE_t1ce.nii.gz`` is ``…t1ce.nii.gz``.

    What is left comes from this module's vocabulary: it can stand in a report, a log or an error.
    """
    extension = _EXTENSION.search(name)
    suffix = extension.group().lower() if extension else ""
    tokens = _tokens(name)
    known = [t for t in tokens if _is_known(t)]
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
    scans = _scans(names)
    found: dict[Modality, list[str]] = {m: [] for m in Modality}
    for name, modality in zip(scans, stated(scans), strict=True):
        if modality is not None:
            found[modality].append(name)
    return {m: found[m] for m in Modality if found[m]}


def stated(names: Sequence[str]) -> list[Modality | None]:
    """Tell which modality each name states, read beside the others; None if none or several."""
    tokens = [_tokens(name) for name in names]
    case = len(_case_prefix(tokens)) if len(tokens) > 1 else 0
    return [_stated(words[case:]) for words in tokens]


def unclear(names: Sequence[str]) -> list[str]:
    """List the images whose names state no modality, or two, and nothing else that is known."""
    scans = _scans(names)
    return [
        name
        for name, modality in zip(scans, stated(scans), strict=True)
        if modality is None and _EXTENSION.search(name) and not _is_something_else(_tokens(name))
    ]


def is_segmentation(name: str) -> bool:
    """Whether a name states a segmentation, e.g. ``BraTS20_Training_001_seg.nii``."""
    return any(_SEGMENTATION.fullmatch(t) for t in _tokens(name))


def _scans(names: Sequence[str]) -> list[str]:
    """Leave out what is no image by its extension, and the ``.img`` beside its ``.hdr``."""
    scans = [n for n in names if not (_BESIDES_SCANS.search(n) or _is_other_kind(n))]
    lower = {n.lower() for n in scans}
    return [n for n in scans if not _IMG.search(n) or _IMG.sub(r".hdr\1", n.lower()) not in lower]


def _is_other_kind(name: str) -> bool:
    """Whether a name ends like ``.json`` or ``.crdownload``; ``x.T1`` has no extension."""
    if _EXTENSION.search(name):
        return False
    extension = _ANY_EXTENSION.search(name)
    return extension is not None and not _is_known(extension[1].lower())


def _is_known(token: str) -> bool:
    return any(words.fullmatch(token) for words in _VOCABULARY)


def _is_something_else(tokens: list[str]) -> bool:
    """Whether words state a segmentation or a series that is none of the four."""
    return any(_SEGMENTATION.fullmatch(t) or _OTHER_SERIES.fullmatch(t) for t in tokens)


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
    if _is_something_else(tokens):
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
    told = _DENIED.sub("plain", " ".join(told)).split()
    marked = [i for i, t in enumerate(told) if _CONTRAST.fullmatch(t)]
    if _BOTH.search(" ".join(tokens)) or (marked and any(map(_NO_CONTRAST.fullmatch, told))):
        return None  # "t1_w_wo_gd", "pre_op_t1_gd"
    if not marked:
        return Modality.T1
    at = next(i for i, t in enumerate(told) if _T1.fullmatch(t))
    # "post_op_t1" is after surgery, "t1_post" after contrast: only a neighbour counts
    return Modality.T1CE if any(abs(i - at) == 1 for i in marked) else None


def _base(name: str) -> str:
    return re.split(r"[\\/]", name)[-1]


def _tokens(name: str) -> list[str]:
    """Words of a base name in lower case, without its extension; a minus is ``without``."""
    stem = _EXTENSION.sub("", _base(name)).lower()
    stem = _MINUS.sub(r"\g<t1> without \g<behind>\g<ahead>", stem)
    return [t for t in re.split(r"[^a-z0-9]+", stem) if t]


def _is_harmless(character: str) -> bool:
    if unicodedata.bidirectional(character) in {"R", "AL", "AN"}:
        return False
    return character.isalnum() or character in " ._-+,()=…"
