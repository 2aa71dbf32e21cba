"""From raw JSON lines to clean ratings: validation, duplicates, iterated k-core, positives."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from hybridvae.data import sql
from hybridvae.data.reviews import METADATA_SCHEMA, ReadReport, read_metadata, read_reviews
from hybridvae.errors import BadDataError, UnreadableFileError
from hybridvae.files import atomic_path


@dataclass(frozen=True)
class CleanConfig:
    """The block `clean` of params.yaml."""

    positive_rating: float = 4.0  # ratings from here on are positives
    min_user_ratings: int = 5  # k-core: every user keeps at least so many ratings
    min_item_ratings: int = 5  # and every item
    max_reject_share: float = 0.01  # the run fails when more of the lines are bad


def clean(raw: Path, into: Path, config: CleanConfig) -> dict[str, Any]:
    """Clean the raw files of the folder `raw` into the folder `into`.

    Writes `reviews.parquet` (user_id, item_id, rating, timestamp in ms, positive, title, text; ordered
    by user, time, item), `items.parquet` (item_id, title, brand, categories, description; one row an
    item) and `rejects.jsonl` (file, line, reason, detail, content).

    Returns:
        Counts such that rows_in = rows_out + rejected + duplicates + removed by the k-core.

    Raises:
        UnreadableFileError: there is no raw file.
        BadDataError: too many lines are bad, or nothing is left after the k-core.
    """
    with TemporaryDirectory(prefix="hybridvae-") as name, sql.database() as connection:
        scratch = Path(name)
        with atomic_path(into / "rejects.jsonl") as partial, partial.open("wb") as rejects:
            reviews = read_reviews(_raw_file(raw, "reviews"), scratch / "reviews.parquet", rejects)
            described = ReadReport()
            if any(raw.glob("metadata.jsonl*")):
                described = read_metadata(_raw_file(raw, "metadata"), scratch / "metadata.parquet", rejects)
            else:
                pq.write_table(METADATA_SCHEMA.empty_table(), scratch / "metadata.parquet")
        _refuse_bad_share(reviews, raw, "reviews", config)
        _refuse_bad_share(described, raw, "metadata", config)

        connection.execute(sql.LATEST_RATINGS, {"path": str(scratch / "reviews.parquet")})
        sql.register_parquet(connection, metadata=scratch / "metadata.parquet")
        rounds = _k_core(connection, config)
        positive = {"positive_rating": config.positive_rating}
        sql.write_parquet(connection, sql.CLEAN_REVIEWS, into / "reviews.parquet", positive)
        sql.write_parquet(connection, sql.CLEAN_ITEMS, into / "items.parquet")

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
        "metadata_rows_in": described.lines,
        "metadata_rejected": dict(sorted(described.rejected.items())),
    }


def _raw_file(raw: Path, role: str) -> Path:
    found = sorted(raw.glob(f"{role}.jsonl*"))
    if not found:
        raise UnreadableFileError(f"{raw} holds no {role}.jsonl or {role}.jsonl.gz: run the fetch stage again.")
    return found[0]


def _refuse_bad_share(report: ReadReport, raw: Path, role: str, config: CleanConfig) -> None:
    bad = sum(count for reason, count in report.rejected.items() if reason != "blank_line")
    if bad > config.max_reject_share * report.lines:
        reasons = ", ".join(f"{reason} {count}" for reason, count in report.rejected.most_common())
        raise BadDataError(
            f"{bad} of {report.lines} lines of the {role} in {raw} are bad ({reasons}; first: {report.first_reject}), "
            f"more than clean.max_reject_share = {config.max_reject_share}: correct the file or raise that share."
        )


def _k_core(connection: Any, config: CleanConfig) -> list[dict[str, int]]:
    """Run rounds until none removes a row; the first entry is the state before any."""
    connection.execute(sql.CORE_START)
    rounds: list[dict[str, int]] = []
    while True:
        rows, users, items = connection.execute(sql.CORE_COUNTS).fetchone()
        rounds.append({"rows": rows, "users": users, "items": items})
        if rows == 0:
            steps = " -> ".join(f"{r['rows']} rows ({r['users']} users, {r['items']} items)" for r in rounds)
            raise BadDataError(
                f"nothing is left after the k-core with clean.min_user_ratings = {config.min_user_ratings} and "
                f"clean.min_item_ratings = {config.min_item_ratings}; round by round: {steps}. "
                "Lower the thresholds or bring more data."
            )
        if len(rounds) > 1 and rounds[-2]["rows"] == rows:
            return rounds[:-1]
        thresholds = {"min_user_ratings": config.min_user_ratings, "min_item_ratings": config.min_item_ratings}
        connection.execute(sql.CORE_ROUND, thresholds)
        connection.execute("DROP TABLE core")
        connection.execute("ALTER TABLE next_core RENAME TO core")
