"""Every error that a user can fix. Their messages say what was found, where, and what to do.

The command line prints the message alone; anything else is a defect of this project and keeps its traceback. This
module imports nothing heavy, because processes that decode images import it.
"""

from errno import EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR

# What the system says of a name that is no file's, and of a place in a file that only damaged content asks for.
_NOT_OF_STORAGE = (None, ENOENT, EISDIR, ENOTDIR, ELOOP, ENAMETOOLONG, EINVAL)


class CxrKdError(Exception):
    """Base of all errors below."""


class StudyError(CxrKdError):
    """A study file, or one of its settings, cannot be used."""


class DataError(CxrKdError):
    """Data cannot be used as they are."""


class StorageError(DataError):
    """A file cannot be read now although it may be intact: the disk, network, permission or decoding time failed."""


class ModelError(CxrKdError, ValueError):
    """A network name, image size, input or weights file cannot be used."""


class TeacherError(CxrKdError):
    """A teacher cannot teach, or its answers cannot be stored."""


class TrainingError(CxrKdError):
    """A training cannot continue."""


class OtherProcessError(CxrKdError):
    """The first of several training processes stopped; the message is the one it gave."""


class PredictionsError(CxrKdError):
    """A predictions file, or the arrays for one, are missing or inconsistent."""


class ReportError(CxrKdError):
    """The report cannot be written, because an input is missing or unreadable."""


def is_of_storage(error: BaseException) -> bool:
    """Say whether an error is about reading a file, not about what is in it or about there being none.

    Pillow raises OSErrors about content too; they have no number.
    """
    return isinstance(error, OSError) and error.errno not in _NOT_OF_STORAGE
