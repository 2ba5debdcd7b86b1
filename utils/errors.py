"""Errors the person at the screen can act on."""


class UserError(Exception):
    """Shown verbatim, without a traceback: says what is wrong, in which file, and what to do next."""


class UnreadableVolumeError(UserError):
    """The upload is not a 3-D NIfTI volume that can be trusted."""


class MissingModalityError(UserError):
    """A study lacks one of the four modalities."""


class GridMismatchError(UserError):
    """The scans of one study do not share a voxel grid."""


class EmptyStudyError(UserError):
    """No voxel of any scan is non-zero."""


class ModelError(UserError):
    """The model files are missing, damaged or do not belong together."""
