"""Data sets that ship inside a wheel in RecBole's atomic format, as review and metadata JSON lines."""

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hybridvae.errors import UnreadableFileError
from hybridvae.files import atomic_path


def convert_wheel(wheel: Path, into: Path, *, reviews: str, metadata: str | None) -> None:
    """Write a wheel's atomic files into the folder `into`, as reviews.jsonl and metadata.jsonl.

    Args:
        reviews, metadata: paths inside the wheel.

    Raises:
        UnreadableFileError: the wheel cannot be unpacked or does not hold them, or one lacks a column or has a
            value that is no number.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for role, member in (("reviews", reviews), ("metadata", metadata)):
                if member is not None:
                    _convert(archive, wheel, member, into, role)
    # Encrypted members are a RuntimeError, methods of packing that Python lacks a NotImplementedError.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UnreadableFileError(
            f"{wheel} cannot be unpacked ({error}): it is no wheel, so correct the source in sources.yaml."
        ) from None


def _convert(archive: zipfile.ZipFile, wheel: Path, member: str, into: Path, role: str) -> None:
    if member not in archive.namelist():
        raise UnreadableFileError(f"{wheel} holds no {member}: correct the source's `{role}`.")
    convert = _review if role == "reviews" else _metadata
    line = 1  # has the names of the columns
    with (
        archive.open(member) as raw,
        atomic_path(into / f"{role}.jsonl") as partial,
        partial.open("w", encoding="utf-8", newline="\n") as out,
    ):
        try:
            for row in _atomic_rows(io.TextIOWrapper(raw, encoding="utf-8")):
                line += 1
                out.write(json.dumps(convert(row), ensure_ascii=False) + "\n")
        except KeyError as error:
            raise UnreadableFileError(f"{member} of {wheel.name} has no column {error.args[0]}.") from None
        except (ValueError, OverflowError, csv.Error) as error:
            raise UnreadableFileError(
                f"{member} of {wheel.name} is not in RecBole's format at line {line} ({error}): correct the source."
            ) from None
        if line == 1:
            raise UnreadableFileError(f"{member} of {wheel.name} has no rows: correct the source.")


def _atomic_rows(file: io.TextIOWrapper) -> Iterator[dict[str, str]]:
    reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    names = [column.partition(":")[0] for column in next(reader, [])]
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
