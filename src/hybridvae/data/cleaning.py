"""From raw files to clean ratings: validation, duplicates, iterated k-core, positives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import pyarrow.parquet as pq

from hybridvae.config import CountOrZero, Parameters, Share, Within
from hybridvae.data import sql
from hybridvae.data.engine import DUCKDB, Engine, EngineConfig, only_row, open_engine
from hybridvae.data.reviews import METADATA_SCHEMA, ReadReport, read_metadata, read_reviews
from hybridvae.errors import BadDataError, UnreadableFileError, quoted
from hybridvae.files import atomic_path
from hybridvae.progress import warn


@dataclass(frozen=True)
class CleanConfig(Parameters):
    """The block `clean` of params.yaml."""

    positive_rating: Annotated[float, Within(1, 5)] = 4.0  # ratings from here on are positives
    min_user_ratings: CountOrZero = 5  # k-core: every user keeps at least so many ratings
    min_item_ratings: CountOrZero = 5  # and every item
    max_reject_share: Share = 0.01  # the run fails when more of the lines are bad


def clean(raw: Path, into: Path, config: CleanConfig, engine: EngineConfig = DUCKDB) -> dict[str, Any]:
    """Clean the raw files of the folder `raw` into the folder `into`.

    Writes `reviews.parquet` (user_id, item_id, rating, timestamp in ms, positive, title, text; ordered
    by user, time, item), `items.parquet` (item_id, title, brand, categories, description; one row an
    item) and `rejects.jsonl` (file, line, reason, detail, content).

    Returns:
        Counts such that rows_in = rows_out + rejected + duplicates + removed by the k-core. `described` are the items
        with a title, a brand, categories or a description.

    Raises:
        UnreadableFileError: there is no raw file.
        BadDataError: too many lines are bad, nothing is left after the k-core, or the metadata are of other items.
    """
    with open_engine(engine) as tables:
        scratch = tables.folder
        with atomic_path(into / "rejects.jsonl") as partial, partial.open("wb") as rejects:
            reviews = _read(read_reviews, _raw_files(raw, "reviews"), scratch / "reviews", rejects)
            if not reviews.lines:
                raise UnreadableFileError(
                    f"{raw} holds no reviews.jsonl, reviews.csv or reviews.parquet, plain or gzip: run the fetch stage "
                    "again."
                )
            metadata = _read(read_metadata, _raw_files(raw, "metadata"), scratch / "metadata", rejects)
            if not metadata.lines:
                pq.write_table(METADATA_SCHEMA.empty_table(), scratch / "metadata" / "none.parquet")
        _refuse_bad_share(reviews, raw, "reviews", config)
        _refuse_bad_share(metadata, raw, "metadata", config)

        tables.register(lines=scratch / "reviews", metadata=scratch / "metadata")
        tables.create("ratings", sql.LATEST_RATINGS)
        rounds = _k_core(tables, config)
        tables.create("clean_items", sql.CLEAN_ITEMS)
        described = _described_items(tables, reviews, metadata) if metadata.lines else 0
        tables.write(sql.CLEAN_REVIEWS, into / "reviews.parquet", {"positive_rating": config.positive_rating})
        tables.write(sql.CLEAN_ITEMS_ROWS, into / "items.parquet")

    table = pq.read_table(into / "reviews.parquet", columns=["positive"])
    first, last = rounds[0], rounds[-1]
    return {
        "layout": reviews.layout,
        "rows_in": reviews.lines,
        "rejected": dict(sorted(reviews.rejected.items())),
        "duplicates": reviews.kept - first["rows"],
        "k_core_removed": first["rows"] - last["rows"],
        "k_core_rounds": rounds,
        "rows_out": last["rows"],
        "users": last["users"],
        "items": last["items"],
        "positives": int(table["positive"].to_numpy().sum()),
        "metadata_rows_in": metadata.lines,
        "metadata_rejected": dict(sorted(metadata.rejected.items())),
        "described": described,
    }


def _raw_files(raw: Path, role: str) -> list[Path]:
    """The raw file of a role, or its part files: reviews.jsonl.gz, or reviews-00000.jsonl.gz and so on."""
    return sorted(raw.glob(f"{role}[.-]*"))


def _read(read: Callable[..., ReadReport], files: list[Path], into: Path, rejects: IO[bytes]) -> ReadReport:
    """Read part files one after the other, each into a Parquet file of its own in the folder `into`."""
    report = ReadReport()
    into.mkdir()
    whole = [file for file in files if file.stat().st_size]  # an engine's part may be empty
    for number, file in enumerate(whole or files):
        name = file.name.partition(".")[0]
        report.add(read(file, into / f"{number:05d}.parquet", rejects, name=name))
    return report


def _refuse_bad_share(report: ReadReport, raw: Path, role: str, config: CleanConfig) -> None:
    bad = sum(count for reason, count in report.rejected.items() if reason != "blank_line")
    if bad > config.max_reject_share * report.lines:
        reasons = ", ".join(f"{reason} {count}" for reason, count in report.rejected.most_common())
        raise BadDataError(
            f"{bad} of {report.lines} lines of the {role} in {raw} are bad ({reasons}; first: {report.first_reject}), "
            f"more than clean.max_reject_share = {config.max_reject_share}: correct the file or raise that share."
        )


def _k_core(tables: Engine, config: CleanConfig) -> list[dict[str, int]]:
    """Run rounds until none removes a row; the first entry is the state before any."""
    thresholds = {"min_user_ratings": config.min_user_ratings, "min_item_ratings": config.min_item_ratings}
    tables.create("core", sql.CORE_START)
    rounds: list[dict[str, int]] = []
    while True:
        rounds.append(only_row(tables.query(sql.CORE_COUNTS)))
        rows = rounds[-1]["rows"]
        if rows == 0:
            steps = " -> ".join(f"{r['rows']} rows ({r['users']} users, {r['items']} items)" for r in rounds)
            raise BadDataError(
                f"nothing is left after the k-core with clean.min_user_ratings = {config.min_user_ratings} and "
                f"clean.min_item_ratings = {config.min_item_ratings}; round by round: {steps}. "
                "Lower the thresholds or bring more data."
            )
        if len(rounds) > 1 and rounds[-2]["rows"] == rows:
            return rounds[:-1]
        tables.create("core", sql.CORE_ROUND, thresholds)


def _described_items(tables: Engine, reviews: ReadReport, metadata: ReadReport) -> int:
    """How many items the metadata describe; few are said, none are an error."""
    items, matched, described = only_row(tables.query(sql.DESCRIBED_ITEMS)).values()
    if 2 * described >= items:
        return int(described)
    if described == 0 and matched:
        raise BadDataError(
            f"the metadata have {matched} of the {items} items, but for none of them a title, brand or store, "
            "categories or description: correct the names of these fields, or leave the metadata out."
        )
    ids = " and ".join(
        f"{' or '.join(map(quoted, dict.fromkeys(ends)))} in the {role} ({report.id_field})"
        for role, report, ends in (
            ("reviews", reviews, only_row(tables.query(sql.CORE_ITEM_IDS)).values()),
            ("metadata", metadata, only_row(tables.query(sql.METADATA_ITEM_IDS)).values()),
        )
    )
    said = f"the metadata describe {described or 'none'} of the {items} items; ids are such as {ids}"
    if (reviews.id_field, metadata.id_field) == ("asin", "parent_asin"):
        said += ", where asin is one variant of a product and parent_asin the product"
    if described == 0:
        raise BadDataError(f"{said}: give reviews and metadata with the same ids, or leave the metadata out.")
    warn(f"{said}; the other items have no title.")
    return int(described)
