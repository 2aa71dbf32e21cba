"""The errors that users are meant to read, and faults of the machine put into words.

The message is one clear sentence: what is wrong, where, and what to do about it. The stage scripts and the command line
print it without a traceback, and `service/errors.py` gives each kind a status of its own.
"""

import datetime
import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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


WRITTEN_AGAIN = "run `dvc checkout --force`, or the stage that writes it"

# What an error number of the system says, with {} for the file or folder, and what to do. EDQUOT is not everywhere.
_FAULTS = {
    errno.ENOSPC: "no space is left on the disk for {}: free some, then run this again",
    getattr(errno, "EDQUOT", -1): "your share (quota) of the disk is used up by {}: free some, then run this again",
    errno.EROFS: "{} cannot be written, as the disk is read-only: choose another place, or mount it for writing",
    errno.EACCES: "{} may not be opened (permission denied): change its permissions, or choose another place",
    errno.EPERM: "{} may not be changed (not permitted): change its permissions, or choose another place",
    errno.EMFILE: "too many files are open to open {}: raise the limit with `ulimit -n 4096`, then run this again",
    errno.ENFILE: "too many files are open on this machine to open {}: close other programs, then run this again",
    errno.ENOTDIR: "{} lies where a file stands in the place of a folder: move that file away",
    errno.EEXIST: "{} is a file where a folder must be: move it away",
    errno.EISDIR: "{} is a folder where a file must be: move it away",
    errno.ENOTEMPTY: "{} is a folder where a file must be: move it away",
    errno.ENOENT: "{} is not there: run the stage that writes it, or `dvc repro`",
    errno.EFBIG: "{} would grow beyond the size that a file may have here: raise the limit with `ulimit -f unlimited`",
    errno.EIO: "the disk failed at {}: check the disk, then run this again",
    errno.ENAMETOOLONG: "the name {} is longer than the disk takes: choose a shorter one",
    errno.ELOOP: "{} is a link that leads back to itself: remove it",
    getattr(errno, "ESTALE", -2): "{} was lost by the server that holds it: run this again",
}
_DUCKDB = {"_duckdb", "duckdb"}
_LIBRARIES = _DUCKDB | {"pyarrow", "safetensors", "safetensors_rust", "_safetensors_rust", "sqlite3", "torch"}
_DAMAGE = {"SafetensorError", "JSONDecodeError", "UnicodeDecodeError", "BadGzipFile", "BadZipFile", "EOFError"}
_OF_MEMORY = re.compile(
    r"not enough memory|can(no|')t allocate|unable to allocate|out of memory|bad[ _]alloc|failed to map segment", re.I
)
_OF_PARQUET = re.compile(r"parquet|magic bytes|footer|thrift|protocol|corrupt|decompress|deserializ|zstd", re.I)
_OF_GPU = re.compile(r"\b(CUDA|MPS|HIP)\b")


def explained(error: BaseException) -> str | None:
    """What went wrong and what to do, in one sentence; None for what can only be a defect of this program.

    A mistake says it itself. Faults of the machine (disk, memory, open files, GPU) and damaged files come from many
    libraries, whose errors are known here by their names and words, so that none of them must be imported. A note of
    the error (see `files.atomic_path`) names the file where the library does not.
    """
    if isinstance(error, HybridVAEError):
        return " ".join(str(error).splitlines())
    return _gpu_fault(error) or _memory_fault(error) or _system_fault(error) or _file_fault(error)


def _gpu_fault(error: BaseException) -> str | None:
    if not isinstance(error, RuntimeError) or not _OF_GPU.search(str(error)):
        return None
    if _OF_MEMORY.search(str(error)):
        return (
            f"the GPU's memory is short ({_words(error)}): lower batch_size or the model's sizes, or use device: cpu."
        )
    return f"the GPU failed ({_words(error)}): run this again, or use device: cpu."


def _memory_fault(error: BaseException) -> str | None:
    said = isinstance(error, RuntimeError | ImportError | OSError) or _library(error) in _LIBRARIES
    if isinstance(error, MemoryError) or _number(error) == errno.ENOMEM or (said and _OF_MEMORY.search(str(error))):
        why = f" ({_words(error)})" if str(error) else ""
        return f"memory is short{why}: close other programs, or take less data or smaller sizes of the model."
    return None


def _system_fault(error: BaseException) -> str | None:
    number, name = _number(error), getattr(error, "filename", None)
    if number == errno.ENOENT and name in ("git", "dvc"):
        return f"the program {name} was not found: install it, or put its folder on PATH."
    if number in _FAULTS:
        return _FAULTS[number].format(_place(error)) + "."
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "no further thread may be started: raise the limit with `ulimit -u`, or close other programs."
    return None


def _file_fault(error: BaseException) -> str | None:
    library, name = _library(error), type(error).__name__
    of_parquet = (library in _DUCKDB | {"pyarrow"} or isinstance(error, OSError)) and _OF_PARQUET.search(str(error))
    if name in _DAMAGE or (library, name) in (("zlib", "error"), ("sqlite3", "DatabaseError")) or of_parquet:
        return f"{_place(error)} cannot be read ({_words(error)}): {WRITTEN_AGAIN}."
    if library in _DUCKDB and name in ("IOException", "FatalException", "OutOfMemoryException"):
        return f"DuckDB failed ({_words(error)}): check disk and memory, then run this again."
    if isinstance(error, OSError) or (library, name) == ("sqlite3", "OperationalError"):
        return f"{_place(error)} cannot be used ({_words(error)}): check disk and network, then run this again."
    return None


@contextmanager
def in_one_sentence(name: str) -> Iterator[None]:
    """End the process where an error ends the block: with its sentence after `name`, and exit code 1.

    A defect of this program goes on with its traceback.
    """
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt) or str(error) == "Query interrupted":  # as DuckDB says it
            print(f"{name}: stopped", file=sys.stderr)  # noqa: T201
            sys.exit(130)
        if (said := explained(error)) is None:
            raise
        sys.exit(f"{name}: {said}")


def quoted(value: object, most: int = 80) -> str:
    """A value as a message repeats it: on one line, in YAML's words, and cut after so many characters."""
    spelt = {None: "null", True: "true", False: "false"}
    try:
        if value is None or isinstance(value, bool):
            return spelt[value]
        text = str(value) if isinstance(value, datetime.date) else repr(value)
    except (RecursionError, ValueError):  # beyond what Python writes: a number of more than 4,300 digits
        return "a value too long to repeat"
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def _library(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _number(error: BaseException) -> int | None:
    """The error number of the system behind an error, which some libraries give in words alone."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if not isinstance(error, OSError) and _library(error) not in _LIBRARIES:
        return None
    text = str(error)
    if found := re.search(r"(?:errno|os error|code:) (\d+)", text, re.I):
        return int(found[1])
    if re.search(r"(disk|system) (is )?full", text, re.I):
        return errno.ENOSPC
    if re.search(r"no files found|unable to open database file", text, re.I):
        return errno.ENOENT
    return next((number for number in _FAULTS if number > 0 and os.strerror(number).lower() in text.lower()), None)


def _place(error: BaseException) -> str:
    """The file or folder that an error is about."""
    if notes := getattr(error, "__notes__", None):
        place = str(notes[0])
    elif isinstance(error, OSError) and error.filename is not None:
        place = str(error.filename2 or error.filename)  # of a rename, where it was to lead
    elif found := re.search(r"""["'](/[^"'\n]+?)(?:["']|\.\.\.)""", str(error)):
        place = found[1]
    else:
        place = "a file"
    place = re.sub(r"\.([^/\\]+)\.\d+\.partial$", r"\1", place)  # the name under which `files.atomic_path` writes
    return place if len(place) <= 300 else f"{place[:300]}..."


def _words(error: BaseException) -> str:
    """The first line of what an error says."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    line = "".join(character for character in line if character.isprintable())
    return (line if len(line) <= 200 else f"{line[:200]}...").rstrip(".:")
