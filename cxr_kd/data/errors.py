"""The error of everything that reads data, in a module of its own: a worker that decodes images loads no pandas."""


class DataError(Exception):
    """Data that can't be used as it is; the message says what was found, where, and what to do."""
