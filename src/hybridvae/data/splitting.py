"""From clean ratings to two parts that must not mix: what may be fitted on, and the test."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd

from hybridvae.config import Parameters, Seed, Within
from hybridvae.data import sql
from hybridvae.data.candidates import write_candidates
from hybridvae.data.interactions import PARTS
from hybridvae.errors import BadDataError
from hybridvae.files import read_frame
from hybridvae.progress import warn
from hybridvae.seeds import random_generator

Strategy = Literal["temporal", "leave_one_out", "global_temporal", "cold_items"]
Ties = Literal["drawn", "item_id"]

_MUCH = 0.2  # a share of users or targets above which a person should know
_LENGTHS = ("min", "quartile_1", "median", "quartile_3", "max", "mean")  # as sql.SPLIT_LENGTHS gives them


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


def split(cleaned: Path, into: Path, config: SplitConfig) -> dict[str, Any]:
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
    with sql.database() as connection:
        sql.register_parquet(connection, reviews=cleaned / "reviews.parquet", described=cleaned / "items.parquet")
        before = connection.execute("SELECT COUNT(DISTINCT user_id), COUNT(*) FROM reviews").fetchone()
        for statement in (sql.SPLIT_ROWS, sql.SPLIT_USERS, sql.SPLIT_ITEMS):
            connection.execute(statement, order)
        connection.register("cold", _draw_cold_items(connection, config))
        wanted = {
            "temporal": {"held_out_share": config.held_out_share},
            "global_temporal": {"validation_cut": config.validation_cut, "test_cut": config.test_cut},
        }
        connection.execute(sql.STRATEGIES[config.strategy], wanted.get(config.strategy, {}))
        for statement in (sql.SPLIT_PARTS, sql.SPLIT_POOLS, sql.SPLIT_FINAL):
            connection.execute(statement)

        sql.write_parquet(connection, sql.SPLIT_USER_INDEX, fit / "users.parquet")
        sql.write_parquet(connection, sql.SPLIT_ITEM_INDEX, fit / "items.parquet")
        sql.write_parquet(connection, sql.SPLIT_PART_ROWS, fit / "rows.parquet", {"first": 0, "last": 1})
        sql.write_parquet(connection, sql.SPLIT_PART_ROWS, test / "rows.parquet", {"first": 2, "last": 2})
        counts = connection.execute(sql.SPLIT_COUNTS).df().set_index("part").reindex(range(3), fill_value=0)
        tied = connection.execute(sql.TIED_USERS).fetchone()
        lengths = connection.execute(sql.SPLIT_LENGTHS).fetchone()
    assert before is not None and tied is not None and lengths is not None  # aggregates always give a row

    users, items = len(read_frame(fit / "users.parquet")), len(read_frame(fit / "items.parquet"))
    rows, positives = int(counts["rows"].sum()), int(counts["positives"].sum())
    report: dict[str, Any] = {
        "strategy": config.strategy,
        "ties": config.ties,
        "users": users,
        "users_with_too_few_positives": before[0] - users,
        "items": items,
        "rows": rows,
        "rows_of_leavers": before[1] - rows,
        "positives": positives,
        "density": positives / (users * items) if users else 0.0,
        "positives_a_user": dict(zip(_LENGTHS, lengths, strict=True)),
        "share_of_users_with_tied_boundary": tied[0] / users if users else 0.0,
    }
    for code, name in enumerate(PARTS):
        of_part = {str(key): int(of_key[code]) for key, of_key in counts.items()}
        report[name] = {key: of_part[key] for key in ("rows", "positives")}
        if code:
            _refuse_empty(name, of_part, users, config)
            new = of_part.pop("targets_of_new_items") / of_part["targets"]
            report[name] = of_part | {"share_of_targets_of_new_items": new}
    for part, negatives in write_candidates(fit, test, count=config.candidates, seed=config.seed).items():
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


def _draw_cold_items(connection: Any, config: SplitConfig) -> pd.DataFrame:
    """Items that lose all their interactions to validation (1) or test (2); empty for other strategies."""
    if config.strategy != "cold_items":
        return pd.DataFrame({"item_id": pd.Series(dtype=str), "part": pd.Series(dtype="int32")})
    items = connection.execute("SELECT item_id FROM items ORDER BY item_index").fetchnumpy()["item_id"]
    size = max(1, int(config.cold_share * len(items) + 0.5))
    drawn = random_generator(config.seed, "split", "cold items").permutation(len(items))[: 2 * size]
    return pd.DataFrame(
        {"item_id": items[drawn], "part": np.repeat(np.array([1, 2], dtype=np.int32), size)[: len(drawn)]}
    )
