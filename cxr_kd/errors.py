"""Errors that a user can fix. Each message says what was found, where, and what to do.

The command line prints only the message. Any other exception is a defect of this project and keeps its traceback. This
module imports nothing heavy, because processes that decode images import it.
"""

from errno import EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR

# Errors of the system about a name without a file, or about a position in a file that only damaged content names.
_NOT_OF_STORAGE = (None, ENOENT, EISDIR, ENOTDIR, ELOOP, ENAMETOOLONG, EINVAL)


class CxrKdError(Exception):
    """Base of all errors below."""


class StudyError(CxrKdError):
    """A study file, or one of its settings, cannot be used."""


class DataError(CxrKdError):
    """A data set, one of its files, or something made from them cannot be used as it is."""


class StorageError(DataError):
    """A file cannot be read or written now although nothing may be wrong with its content.

    The disk is full or failing, the network or the permission is missing, or decoding took too long.
    """


class ModelError(CxrKdError, ValueError):
    """A network name, image size, input or weights file cannot be used."""


class TeacherError(CxrKdError):
    """A teacher cannot teach, or its answers cannot be stored."""


class TrainingError(CxrKdError):
    """A training cannot continue."""


class OtherProcessError(CxrKdError):
    """The first of several training processes stopped; its message is repeated."""


class PredictionsError(CxrKdError):
    """A predictions file, or the arrays for one, are missing or inconsistent."""


class ReportError(CxrKdError):
    """The report cannot be written, because an input is missing or unreadable."""


def is_of_storage(error: BaseException) -> bool:
    """Return whether an error is about reading a file, not about its content or its absence.

    Pillow raises OSErrors about content too; they have no error number.
    """
    return isinstance(error, OSError) and error.errno not in _NOT_OF_STORAGE
