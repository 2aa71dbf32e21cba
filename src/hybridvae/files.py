"""Files: every write is atomic, every hash is SHA-256, every JSON looks the same."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

DECIMALS = 6  # of the figures in files of results
_CHUNK = 1 << 20  # bytes read at a time


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it becomes `path` when the block ends well.

    A process killed in the middle leaves the old file, or none, but never half of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Where what must survive between runs lies: downloads, encoded texts, interrupted fits, notes of cost."""
    import platformdirs

    return Path(os.environ.get("HYBRIDVAE_CACHE") or platformdirs.user_cache_path("hybridvae"))


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


def read_json(path: Path) -> Any:
    """Read a UTF-8 JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, in C where it has that: dvc.lock is long."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_yaml(text: str) -> Any:
    """Read YAML as DVC does: 1e-05, which YAML 1.1 takes for a text since it has no dot, is a number."""
    return yaml.load(text, _Loader)


def read_yaml(path: Path) -> Any:
    """Read a UTF-8 YAML file, as `parse_yaml`."""
    return parse_yaml(path.read_text(encoding="utf-8"))


def write_frame(path: Path, frame: "pd.DataFrame") -> None:
    """Write a data frame to Parquet without its index, atomically."""
    with atomic_path(path) as partial:
        frame.to_parquet(partial, index=False, compression="zstd")


def write_arrays(path: Path, arrays: "Mapping[str, npt.NDArray[Any]]") -> None:
    """Write named arrays as safetensors, atomically.

    Unlike NumPy's own archives these have the same bytes under every version of Python, whose zip headers differ.
    """
    import numpy as np
    from safetensors.numpy import save_file

    with atomic_path(path) as partial:
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, partial)


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
