"""What the text encoder reads of each item: metadata, and reviews of the training part alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from hybridvae.config import Count, CountOrZero, Parameters
from hybridvae.data import sql
from hybridvae.data.engine import DUCKDB, EngineConfig, open_engine
from hybridvae.errors import quoted

Field = Literal["title", "brand", "categories", "description", "reviews"]  # of an item


@dataclass(frozen=True)
class TextConfig(Parameters):
    """The block `text` of params.yaml."""

    fields: tuple[Field, ...] = ("title", "brand", "categories", "reviews")  # in this order; also: description
    max_reviews: CountOrZero = 10  # of an item, the oldest first
    max_characters: Count = 2000  # of the whole text; the encoder reads 256 tokens, some 1,200 characters

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fields or len(set(self.fields)) < len(self.fields):
            raise ValueError(f"fields is {quoted(list(self.fields))}: name at least one of them, and none twice.")


def gather_item_texts(cleaned: Path, fit: Path, config: TextConfig, engine: EngineConfig = DUCKDB) -> list[str]:
    """The text of each item of the catalogue, in the order of `fit/items.parquet`.

    Args:
        cleaned: folder of `clean`, with every review and the metadata.
        fit: folder of `split` with the rows of the training and validation part; only (user, item) pairs
            of the training part lend their review, or the words of a target would reach its item.

    Returns:
        (I,) texts; empty where an item has no words at all.
    """
    with open_engine(engine) as tables:
        tables.register(
            said=cleaned / "reviews.parquet",
            described=cleaned / "items.parquet",
            users=fit / "users.parquet",
            catalogue=fit / "items.parquet",
            training=fit / "rows.parquet",
        )
        # The limit on reviews stands in SQL, so that a popular item's thousands never reach Python.
        tables.write(sql.ITEM_TEXTS, tables.folder / "texts.parquet", {"max_reviews": config.max_reviews})
        with pq.ParquetFile(tables.folder / "texts.parquet") as file:
            rows = (row for batch in file.iter_batches(10_000) for row in batch.to_pylist())
            return [compose(_joined(some), config) for _, some in groupby(rows, key=itemgetter("item_index"))]


def _joined(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One item of its rows, which have a review each, and the first the metadata."""
    first, *others = rows
    return first | {"reviews": [row["words"] for row in (first, *others) if row["words"] is not None]}


def compose(item: dict[str, Any], config: TextConfig) -> str:
    """One item's text: its fields in the configured order, each ended by a full stop, cut at the limit."""
    parts: list[str] = []
    for field in config.fields:
        value = item[field]
        parts += value if isinstance(value, list) else [value]
    sentences = [part if part.endswith((".", "!", "?")) else f"{part}." for part in parts if part]
    return " ".join(sentences)[: config.max_characters].strip()
