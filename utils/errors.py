"""Errors the person at the screen can act on."""


class UserError(Exception):
    """Shown verbatim, without a traceback: what is wrong, in which file, what to do next."""


class UnreadableVolumeError(UserError):
    """The upload is not a 3-D NIfTI volume that can be trusted."""


class UnconfirmedUnitError(UnreadableVolumeError):
    """The header measures in another unit than millimetres; only a person can say what is meant."""


class MissingModalityError(UserError):
    """A study lacks one of the four modalities."""


class GridMismatchError(UserError):
    """The scans of one study do not share a voxel grid."""


class EmptyStudyError(UserError):
    """No voxel of any scan is non-zero."""


class ModelError(UserError):
    """The model files are missing, damaged or do not belong together."""


class UnreadableArchiveError(UserError):
    """The ZIP file cannot be opened, or would unpack to something unreasonable."""


class AmbiguousFileError(UserError):
    """Two files could be the same modality; choosing one would be guessing."""


class ImplausibleStudyError(UserError):
    """Scans that are each readable but cannot be one visit of one patient."""


class MaskNotVerifiedError(UserError):
    """A written mask did not read back as it should have."""


class RefusedStudyError(UserError):
    """Everything that is wrong with a study, so that one round of corrections is enough.

    Attributes
    ----------
    errors : tuple of UserError
        One for each finding, in the order of the scans.
    """

    def __init__(self, errors: tuple[UserError, ...]) -> None:
        super().__init__("\n\n".join(map(str, errors)))
        self.errors = errors
