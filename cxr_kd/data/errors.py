"""The errors of everything that reads data, in a module of its own: a worker that decodes images loads no pandas."""

from errno import EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR

# What the system says of a name that is no file's, and of a place in a file that only damaged content asks for.
_NOT_OF_STORAGE = (None, ENOENT, EISDIR, ENOTDIR, ELOOP, ENAMETOOLONG, EINVAL)


class DataError(Exception):
    """Data that can't be used as it is; the message says what was found, where, and what to do."""


class StorageError(DataError):
    """A file that can't be read now, and may be whole: the disk, the network, a right, or a decoder's time failed."""


def is_of_storage(error: BaseException) -> bool:
    """Say whether an error is about reading a file, not about what is in it or about there being none.

    Pillow raises OSErrors about content too; they have no number.
    """
    return isinstance(error, OSError) and error.errno not in _NOT_OF_STORAGE
