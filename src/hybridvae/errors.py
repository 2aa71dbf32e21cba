"""The errors that users are meant to read.

The message is one clear sentence: what is wrong, where, and what to do about it. The stage scripts and the command line
print it without a traceback, and `service/errors.py` gives each kind a status of its own.
"""

import reprlib


def quoted(value: object) -> str:
    """A value as Python writes it, for a message: at most 80 characters of it, whatever its size and depth."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 60, 60
    written = short.repr(value)
    return written if len(written) <= 80 else f"{written[:77]}..."


class HybridVAEError(Exception):
    """Something that a person can mend: a mistake of one of the kinds below, or a command that failed."""


class BadDataError(HybridVAEError):
    """The data are not what they must be: reviews, histories, interactions."""


class BadParameterError(HybridVAEError):
    """A parameter, an argument or a name is unknown, of the wrong type, or out of its range."""


class UnreadableFileError(HybridVAEError):
    """A file or an address is missing or damaged, or has another hash or other items than was declared."""


class NotEnoughMemoryError(HybridVAEError):
    """The work asks for more memory than the machine has."""
