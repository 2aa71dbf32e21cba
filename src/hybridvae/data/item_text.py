"""What the text encoder reads of each item: metadata, and reviews of the training part alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hybridvae.config import Count, CountOrZero, Parameters
from hybridvae.data import sql
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


def gather_item_texts(cleaned: Path, fit: Path, config: TextConfig) -> list[str]:
    """The text of each item of the catalogue, in the order of `fit/items.parquet`.

    Args:
        cleaned: folder of `clean`, with every review and the metadata.
        fit: folder of `split` with the rows of the training and validation part; only (user, item) pairs
            of the training part lend their review, or the words of a target would reach its item.

    Returns:
        (I,) texts; empty where an item has no words at all.
    """
    with sql.database() as connection:
        sql.register_parquet(
            connection,
            said=cleaned / "reviews.parquet",
            described=cleaned / "items.parquet",
            users=fit / "users.parquet",
            catalogue=fit / "items.parquet",
            training=fit / "rows.parquet",
        )
        # The limit on reviews stands in SQL, so that a popular item's thousands never reach Python.
        found = connection.execute(sql.ITEM_TEXTS, {"max_reviews": config.max_reviews})
        names = [column[0] for column in found.description or ()]
        texts = []
        while batch := found.fetchmany(10_000):
            texts += [compose(dict(zip(names, row, strict=True)), config) for row in batch]
    return texts


def compose(item: dict[str, Any], config: TextConfig) -> str:
    """One item's text: its fields in the configured order, each ended by a full stop, cut at the limit."""
    parts: list[str] = []
    for field in config.fields:
        value = item[field]
        parts += value if isinstance(value, list) else [value]
    sentences = [part if part.endswith((".", "!", "?")) else f"{part}." for part in parts if part]
    return " ".join(sentences)[: config.max_characters].strip()
