"""From clean ratings to two parts that must not mix: what may be fitted on, and the test."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd

from hybridvae.config import Parameters, Seed, Within
from hybridvae.data import sql
from hybridvae.data.candidates import write_candidates
from hybridvae.data.engine import DUCKDB, Engine, EngineConfig, only_row, open_engine
from hybridvae.data.interactions import PARTS
from hybridvae.errors import BadDataError
from hybridvae.files import read_frame, write_frame
from hybridvae.progress import warn
from hybridvae.seeds import random_generator

Strategy = Literal["temporal", "leave_one_out", "global_temporal", "cold_items"]
Ties = Literal["drawn", "item_id"]

_MUCH = 0.2  # a share of users or targets above which a person should know


@dataclass(frozen=True)
class SplitConfig(Parameters):
    """The block `split` of params.yaml."""

    strategy: Strategy = "temporal"
    ties: Ties = "drawn"  # the order of equal timestamps; item_id: as in the literature's files, and decided by names
    seed: Seed = 2024  # of ties, candidates and cold items; the training seed must not redraw them
    held_out_share: float = 0.15  # of a user's positives, for validation and again for test (temporal)
    validation_cut: float = 0.70  # share of all positives before validation (global_temporal)
    test_cut: float = 0.85  # and before test
    # Of the items, for validation and again for test (cold_items).
    cold_share: Annotated[float, Within(0, 0.5, above=True, below=True)] = 0.05
    candidates: Annotated[int, Within(1, 100_000)] = 99  # sampled negatives a target

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.held_out_share <= 1 / 3:
            raise ValueError("held_out_share must be above 0 and at most 1/3, so that every user keeps a training row.")
        if not 0 < self.validation_cut < self.test_cut < 1:
            raise ValueError("0 < validation_cut < test_cut < 1 must hold.")


def split(cleaned: Path, into: Path, config: SplitConfig, engine: EngineConfig = DUCKDB) -> dict[str, Any]:
    """Split the ratings in the folder `cleaned` into `into/fit` and `into/test`.

    `fit` holds the vocabularies (`users.parquet`, `items.parquet`, ordered by index), the rows of the
    training and the validation part and the candidates of the validation targets; `test` the rows
    of the test part and the candidates of its targets. All draws are seeded by `config.seed` alone.

    Returns:
        Counts of users, items, rows and targets of each part, the share of tied boundaries, and for each part the share
        of its targets that no earlier part knows and how many negatives a target has.

    Raises:
        BadDataError: a part would have no target.
    """
    fit, test = into / "fit", into / "test"
    order = {"drawn": config.ties == "drawn", "seed": str(config.seed)}
    with open_engine(engine) as tables:
        tables.register(reviews=cleaned / "reviews.parquet", described=cleaned / "items.parquet")
        before = only_row(tables.query(sql.REVIEW_COUNTS))
        for name, query in (("rows", sql.SPLIT_ROWS), ("users", sql.SPLIT_USERS), ("items", sql.SPLIT_ITEMS)):
            tables.create(name, query, order)
        write_frame(tables.folder / "cold.parquet", _draw_cold_items(tables, config))
        tables.register(cold=tables.folder / "cold.parquet")
        wanted = {
            "temporal": {"held_out_share": config.held_out_share},
            "global_temporal": {"validation_cut": config.validation_cut, "test_cut": config.test_cut},
        }
        tables.create("marked", sql.STRATEGIES[config.strategy], wanted.get(config.strategy))
        for name, query in (("parted", sql.SPLIT_PARTS), ("pools", sql.SPLIT_POOLS), ("final", sql.SPLIT_FINAL)):
            tables.create(name, query)

        tables.write(sql.SPLIT_USER_INDEX, fit / "users.parquet")
        tables.write(sql.SPLIT_ITEM_INDEX, fit / "items.parquet")
        tables.write(sql.SPLIT_PART_ROWS, fit / "rows.parquet", {"first": 0, "last": 1})
        tables.write(sql.SPLIT_PART_ROWS, test / "rows.parquet", {"first": 2, "last": 2})
        counts = {row["part"]: row for row in tables.query(sql.SPLIT_COUNTS)}
        tied = only_row(tables.query(sql.TIED_USERS))["users"]
        lengths = only_row(tables.query(sql.SPLIT_LENGTHS))

    users, items = len(read_frame(fit / "users.parquet")), len(read_frame(fit / "items.parquet"))
    rows, positives = (sum(part[key] for part in counts.values()) for key in ("rows", "positives"))
    report: dict[str, Any] = {
        "strategy": config.strategy,
        "ties": config.ties,
        "users": users,
        "users_with_too_few_positives": before["users"] - users,
        "items": items,
        "rows": rows,
        "rows_of_leavers": before["rows"] - rows,
        "positives": positives,
        "density": positives / (users * items) if users else 0.0,
        "positives_a_user": lengths,
        "share_of_users_with_tied_boundary": tied / users if users else 0.0,
    }
    for code, name in enumerate(PARTS):
        of_part = Counter(counts.get(code))
        del of_part["part"]
        report[name] = {key: of_part[key] for key in ("rows", "positives")}
        if code:
            _refuse_empty(name, of_part, users, config)
            new = of_part.pop("targets_of_new_items") / of_part["targets"]
            report[name] = {**of_part, "share_of_targets_of_new_items": new}
    for part, negatives in write_candidates(
        fit, test, count=config.candidates, seed=config.seed, engine=engine
    ).items():
        report[part]["negatives"] = asdict(negatives)
    _say_what_is_odd(report)
    return report


def _refuse_empty(part: str, counts: dict[str, int], users: int, config: SplitConfig) -> None:
    if counts["targets"]:
        return
    reason = f"{users} users with at least 3 positives"
    if alone := counts["targets_without_competitors"]:
        reason += f"; {alone} targets are of users who rated all else, so that any model ranks them first"
    raise BadDataError(
        f"the {config.strategy} split leaves no {part} target ({reason}): bring more data, or change `split` or "
        "`clean` in params.yaml."
    )


def _say_what_is_odd(report: dict[str, Any]) -> None:
    """Warn of what makes a split say less than its figures seem to."""
    if (tied := report["share_of_users_with_tied_boundary"]) > _MUCH:
        warn(
            f"{tied:.0%} of the users have a boundary of parts within one timestamp, where "
            + ("the draw of split.seed" if report["ties"] == "drawn" else "the item's id")
            + " and not time decides what is held out."
        )
    for part in ("validation", "test"):
        of_part = report[part]
        new = of_part["share_of_targets_of_new_items"]
        if new > _MUCH and report["strategy"] != "cold_items":
            warn(f"{new:.0%} of the {part} targets are items that nobody liked before: text alone speaks for them.")
        if alone := of_part["targets_without_competitors"]:
            warn(f"{alone} {part} targets are left out, since their users rated all else that they are ranked among.")


def _draw_cold_items(tables: Engine, config: SplitConfig) -> pd.DataFrame:
    """Items that lose all their interactions to validation (1) or test (2); empty for other strategies."""
    if config.strategy != "cold_items":
        return pd.DataFrame({"item_id": pd.Series(dtype=str), "part": pd.Series(dtype="int32")})
    tables.write(sql.SPLIT_ITEM_IDS, tables.folder / "ids.parquet")
    items = read_frame(tables.folder / "ids.parquet")["item_id"].to_numpy()
    size = max(1, int(config.cold_share * len(items) + 0.5))
    drawn = random_generator(config.seed, "split", "cold items").permutation(len(items))[: 2 * size]
    return pd.DataFrame(
        {"item_id": items[drawn], "part": np.repeat(np.array([1, 2], dtype=np.int32), size)[: len(drawn)]}
    )
