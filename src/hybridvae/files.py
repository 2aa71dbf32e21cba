"""Files: every write is atomic, every hash is SHA-256, every JSON looks the same."""

import glob
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hybridvae.errors import WRITTEN_AGAIN, UnreadableFileError, quoted

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

DECIMALS = 6  # of the figures in files of results
_CHUNK = 1 << 20  # bytes read at a time
_ABANDONED = 3600  # seconds without a write, after which what a process that is gone left half is removed


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it becomes `path` when the block ends well.

    A process killed in the middle leaves the old file, or none, but never half of one. What it had written is removed
    by the first that writes the same file an hour later. An error of writing that names no file, as of a full disk,
    gets a note that does.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        yield partial
        partial.replace(path)
    except Exception as error:
        nameless = isinstance(error, OSError) and error.errno and not error.filename
        if nameless or type(error).__name__ == "SafetensorError":
            error.add_note(str(path))
        raise
    finally:
        with suppress(OSError):  # the error above says more
            partial.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes left of a file.

    The age is asked for as well: the number of a living process on another machine, or in another container, may be
    that of none here.
    """
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(OSError, ValueError):
            owner = int(partial.name.split(".")[-2])
            if time.time() - partial.stat().st_mtime > _ABANDONED and not _alive(owner):
                partial.unlink()


def _alive(process: int) -> bool:
    if os.name == "nt":  # where a signal of 0 ends a process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def cache_folder() -> Path:
    """Where what must survive between runs lies: downloads, encoded texts, interrupted fits, notes of cost.

    Raises:
        UnreadableFileError: it is no folder.
    """
    import platformdirs

    folder = Path(os.environ.get("HYBRIDVAE_CACHE") or platformdirs.user_cache_path("hybridvae"))
    if folder.exists() and not folder.is_dir():
        raise UnreadableFileError(f"the cache folder {folder} is a file: set HYBRIDVAE_CACHE to a folder.")
    return folder


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends, atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write indented JSON with a final newline, atomically; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_metrics(path: Path, value: Mapping[str, Any]) -> None:
    """Write results as `write_json`, every figure to six decimals: the digits behind them differ between processors."""
    write_json(path, _rounded(value))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value  # + 0.0: there is no -0.0


def read_json(path: Path, *keys: str) -> Any:
    """Read a UTF-8 JSON file; where keys are given, an object that has them.

    Raises:
        UnreadableFileError: it is not JSON, or lacks one of the keys.
    """
    with _readable(path):
        value = json.loads(path.read_text(encoding="utf-8"))
        if keys and not isinstance(value, dict):
            raise ValueError("it is no JSON object")
        if missing := [key for key in keys if key not in value]:
            raise ValueError(f"it has no {', '.join(missing)}")
        return value


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, in C where it has that: dvc.lock is long. A key twice in a block is an error."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; one that looks like a date or a number and is none is an error of YAML too."""
        try:
            if isinstance(node, yaml.MappingNode):
                seen: set[Any] = set()
                for key, _ in node.value:
                    if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                        if key.value in seen:
                            raise yaml.constructor.ConstructorError(
                                None, None, f"the key {quoted(key.value)} stands twice in its block", key.start_mark
                            )
                        seen.add(key.value)
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            raise yaml.constructor.ConstructorError(
                None, None, f"{quoted(node.value)} is no {node.tag.rpartition(':')[2]}", node.start_mark
            ) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_yaml(text: str, name: str = "the text") -> Any:
    """Read YAML as DVC does: 1e-05, which YAML 1.1 takes for a text since it has no dot, is a number.

    Args:
        name: of the file, for messages.

    Raises:
        UnreadableFileError: it is not YAML, or a block has a key twice.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise UnreadableFileError(f"{name} is not YAML as it should be (nested too deeply): correct it.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        raise UnreadableFileError(f"{name}, line {at + 1}: this is not YAML ({why}): correct it.") from None


def read_yaml(path: Path) -> Any:
    """Read a UTF-8 YAML file, as `parse_yaml`.

    Raises:
        UnreadableFileError: it is missing, or not UTF-8, or as `parse_yaml`.
    """
    try:
        content = path.read_bytes()
        return parse_yaml(content.decode("utf-8"), path.name)
    except FileNotFoundError:
        raise UnreadableFileError(f"{path} is not there: bring it back, as with `git checkout {path.name}`.") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableFileError(f"{path.name}, line {line}: this is not UTF-8: save the file as UTF-8.") from None


def write_frame(path: Path, frame: "pd.DataFrame") -> None:
    """Write a data frame to Parquet without its index, atomically."""
    with atomic_path(path) as partial:
        frame.to_parquet(partial, index=False, compression="zstd")


def read_frame(path: Path, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Read a Parquet file, or some of its columns.

    Raises:
        UnreadableFileError: it is damaged, or lacks a column.
    """
    import pandas as pd

    with _readable(path):
        return pd.read_parquet(path, columns=list(columns) if columns is not None else None)


def read_table(path: Path) -> "pa.Table":
    """Read a Parquet file as an Arrow table, with the checks of its pages.

    Raises:
        UnreadableFileError: it is damaged.
    """
    import pyarrow.parquet as pq

    with _readable(path):
        return pq.read_table(path, page_checksum_verification=True)


def read_batches(path: Path, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
    """Some columns of a Parquet file, some ten thousand rows at a time, with the checks of its pages.

    Raises:
        UnreadableFileError: it is damaged, or lacks a column.
    """
    import pyarrow.parquet as pq

    with _readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        if missing := set(columns).difference(file.schema_arrow.names):
            raise ValueError(f"it has no column {', '.join(sorted(missing))}")
        yield from file.iter_batches(columns=list(columns))


def write_arrays(path: Path, arrays: "Mapping[str, npt.NDArray[Any]]") -> None:
    """Write named arrays as safetensors, with a hash of them in the header, atomically.

    Unlike NumPy's own archives these have the same bytes under every version of Python, whose zip headers differ.
    """
    import numpy as np
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with atomic_path(path) as partial:
        save_file(arrays, partial, metadata={"sha256": _sha256_of_arrays(arrays)})


def read_arrays(path: Path) -> "dict[str, npt.NDArray[Any]]":
    """Read what `write_arrays` wrote.

    Raises:
        UnreadableFileError: it is damaged, or has no hash, as those of older versions.
    """
    from safetensors import safe_open

    with _readable(path), safe_open(path, framework="np") as stored:
        arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
        if (stored.metadata() or {}).get("sha256") != _sha256_of_arrays(arrays):
            raise ValueError("its numbers do not have the hash that is written in it")
        return arrays


def _sha256_of_arrays(arrays: "Mapping[str, npt.NDArray[Any]]") -> str:
    """A hash (64 hexadecimal digits) over names, types, shapes and bytes, whatever the order of the names."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.reshape(-1).view("u1").data)
    return digest.hexdigest()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say of a damaged file which it is; errors of the system, which have a number, stay as they are."""
    path.open("rb").close()  # libraries say of any file that they cannot open that it is not there
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            if not getattr(error, "filename", None):
                error.add_note(str(path))
            raise
        said = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        why = "".join(letter if letter.isprintable() else "?" for letter in said)  # some repeat the bytes that they met
        raise UnreadableFileError(f"{path} cannot be read ({why}): {WRITTEN_AGAIN}.") from error


def write_csv(path: Path, frame: "pd.DataFrame") -> None:
    """Write a data frame to CSV without its index, atomically."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits, read in bounded memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_gzip(path: Path) -> bool:
    """Whether a file begins with gzip's magic number, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"
