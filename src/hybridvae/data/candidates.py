"""The sampled negatives of held-out targets, and what is checked of a split, block by block of users.

Draws come from a counter-based generator: SplitMix64 (Steele, Lea & Flood 2014, "Fast Splittable Pseudorandom Number
Generators", figure 16), started anew for each target from the seed, the part, the user and the item. So a target's
negatives depend on nothing else: neither on the order of rows, nor on how many processes share the work.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hybridvae.arrays import IntArray
from hybridvae.data.engine import DUCKDB, EngineConfig, scratch_folder
from hybridvae.errors import HybridVAEError
from hybridvae.files import atomic_path, read_frame
from hybridvae.seeds import derive_seed

_PARTS = {1: "validation", 2: "test"}
_SCHEMA = pa.schema([("user_index", pa.int32()), ("item_index", pa.int32()), ("candidates", pa.list_(pa.int32()))])
_COLUMNS = ("user_index", "item_index", "timestamp", "target", "part")
_USERS_ROWS = 1 << 20  # rows of users that are worked on at a time, at least one user's
_TARGETS = 1 << 15  # drawn for at a time, at most
_NUMBERS = 1 << 22  # drawn at a time
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_PLACE_BITS = np.uint64(18)  # more draws than a target has negatives

UIntArray = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Negatives:
    """How many negatives the targets of a part have."""

    min: int
    mean: float
    max: int


def write_candidates(
    fit: Path, test: Path, *, count: int, seed: int, engine: EngineConfig = DUCKDB
) -> dict[str, Negatives]:
    """Draw and store the negatives of the validation targets (in `fit`) and of the test targets (in `test`).

    Reads what `split` wrote: `rows.parquet` of both folders, ordered by user, and `fit/items.parquet`.

    Returns:
        How many negatives a target has, by part.

    Raises:
        HybridVAEError: the split breaks a promise; see `check_rows`.
    """
    n_items = len(read_frame(fit / "items.parquet", columns=["item_index"]))
    keys = {part: derive_seed(seed, "split", "candidates", name) for part, name in _PARTS.items()}
    counts: dict[int, list[IntArray]] = {part: [] for part in _PARTS}

    def work(rows: pd.DataFrame) -> Iterator[tuple[int, pa.Table]]:
        check_rows(rows)
        for part, key in keys.items():
            for drawn in draw_for(rows, part, n_items=n_items, count=count, key=key):
                yield part, drawn.cast(_SCHEMA)

    with (
        atomic_path(fit / "candidates.parquet") as first,
        atomic_path(test / "candidates.parquet") as second,
        _writer(first, 1) as validation,
        _writer(second, 2) as tested,
    ):
        writers = {1: validation, 2: tested}
        for part, drawn in _over_users(work, (fit / "rows.parquet", test / "rows.parquet"), engine):
            writers[part].write_table(drawn)
            counts[part].append(np.diff(drawn["candidates"].combine_chunks().offsets.to_numpy()))
    lengths = {name: np.concatenate(counts[part]) for part, name in _PARTS.items()}
    return {name: Negatives(int(of.min()), float(of.mean()), int(of.max())) for name, of in lengths.items()}


def _over_users(
    work: Callable[[pd.DataFrame], Iterator[tuple[int, pa.Table]]], files: tuple[Path, ...], engine: EngineConfig
) -> Iterator[tuple[int, pa.Table]]:
    """What `work` makes of the rows of all users: in blocks here, or wherever Spark has its processes."""
    if engine.name == "spark":
        from hybridvae.data.spark import open_spark

        with scratch_folder(engine) as folder, open_spark(engine, folder) as spark:
            yield from spark.per_user(work, files, _SCHEMA)
    else:
        for rows in _blocks_of_users(*files):
            yield from work(rows)


def _writer(path: Path, part: int) -> pq.ParquetWriter:
    described = _SCHEMA.with_metadata({"part": str(part)})
    return pq.ParquetWriter(path, described, compression="zstd", write_page_checksum=True)


def _blocks_of_users(*files: Path) -> Iterator[pd.DataFrame]:
    """The rows of some users after others, of all files together."""
    sizes = np.zeros(0, dtype=np.int64)
    for file in files:
        users = read_frame(file, columns=["user_index"])["user_index"].to_numpy()
        of_file = np.bincount(users, minlength=len(sizes))
        of_file[: len(sizes)] += sizes
        sizes = of_file
    last = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        done = last[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(last, done + _USERS_ROWS, side="right")))
        wanted = [("user_index", ">=", begin), ("user_index", "<", end)]
        yield pd.concat([pd.read_parquet(file, columns=list(_COLUMNS), filters=wanted) for file in files])
        begin = end


def draw_for(rows: pd.DataFrame, part: int, *, n_items: int, count: int, key: int) -> Iterator[pa.Table]:
    """The targets of a part among some users' rows, with their negatives: user_index, item_index, candidates.

    Args:
        rows: all rows of these users, of all parts.
        key: of the part, any number.
    """
    rated = rows.sort_values(["user_index", "item_index"])
    seen = rated["item_index"].to_numpy(dtype=np.int64)
    users, owner = np.unique(rated["user_index"].to_numpy(), return_inverse=True)
    starts = np.searchsorted(owner, np.arange(len(users) + 1))
    rated_pairs = owner * n_items + seen
    targets = rows[(rows["part"] == part) & rows["target"]]
    step = max(1, min(_TARGETS, _NUMBERS // (2 * count + 16)))
    for begin in range(0, len(targets), step):
        some = targets.iloc[begin : begin + step]
        of_user, items = some["user_index"].to_numpy(), some["item_index"].to_numpy()
        places = np.searchsorted(users, of_user)
        negatives, lengths = draw_candidates(
            states_of(key, of_user, items), places, starts, seen, n_items=n_items, count=count
        )
        pairs = np.repeat(places, lengths) * n_items + negatives
        if np.isin(pairs, rated_pairs).any():
            raise HybridVAEError("split: a candidate was rated by its user; this is a defect, please report it.")
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(negatives.astype(np.int32)))
        yield pa.table({"user_index": of_user, "item_index": items, "candidates": lists})


def states_of(key: int, users: IntArray, items: IntArray) -> UIntArray:
    """(T,) the generator's state at the beginning of each target's draws."""
    state = _mixed(np.uint64(key) + _GOLDEN * users.astype(np.uint64))
    return _mixed(state + _GOLDEN * items.astype(np.uint64))


def _mixed(state: UIntArray) -> UIntArray:
    """What SplitMix64 gives out at a state."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _draws(states: UIntArray, number: int) -> UIntArray:
    """(T, number): the first numbers of each state."""
    with np.errstate(over="ignore"):
        steps = _GOLDEN * np.arange(1, number + 1, dtype=np.uint64)
        return _mixed(states[:, None] + steps)


def draw_candidates(
    states: UIntArray, users: IntArray, starts: IntArray, seen: IntArray, *, n_items: int, count: int
) -> tuple[IntArray, IntArray]:
    """Draw negatives uniformly, without replacement, from the items that a target's user never rated.

    Args:
        states: (T,) of the generator, as `states_of` gives them.
        users: (T,) user of each target.
        starts, seen: the sorted items that user u rated are `seen[starts[u]:starts[u + 1]]`.

    Returns:
        The negatives of one target after the other, item indices, and (T,) how many each has: `count`, or what the
        user left unrated.
    """
    unseen = n_items - np.diff(starts)[users]  # (T,)
    wanted = np.minimum(count, unseen)
    lengths = np.zeros_like(wanted)
    flat = np.zeros(0, dtype=np.int64)
    many = np.flatnonzero(unseen >= 4 * count)
    if len(many):
        number = count + count // 4 + 16  # where 4 x count are unseen, that is nearly always enough
        places = (_draws(states[many], number) >> np.uint64(11)) * 2.0**-53  # uniform on [0, 1)
        room = unseen[many, None]
        numbers = np.minimum((places * room).astype(np.uint64), (room - 1).astype(np.uint64))
        chosen = _first_distinct(numbers, wanted[many])
        enough = chosen.sum(axis=1) == wanted[many]
        flat, lengths[many] = numbers[chosen & enough[:, None]].astype(np.int64), wanted[many] * enough
    few = np.flatnonzero(lengths < wanted)
    if len(few):  # small catalogues, and very rarely others: an order of all that is unseen
        pieces = np.split(flat, np.cumsum(lengths)[:-1])
        for row in few:
            pieces[row] = np.argsort(_draws(states[[row]], unseen[row])[0], kind="stable")[: wanted[row]]
        flat = np.concatenate(pieces)
    # The p-th unrated item is p plus the number of rated items before it: own[j] - j unrated items precede own[j], so a
    # binary search over them says how many to skip. Keyed by user, one search serves all users.
    owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    before = seen - (np.arange(len(seen)) - starts[owners]) + owners * n_items
    of_target = np.repeat(users, wanted)
    skipped = np.searchsorted(before, flat + of_target * n_items, side="right") - starts[of_target]
    return flat + skipped, wanted


def _first_distinct(numbers: UIntArray, wanted: IntArray) -> npt.NDArray[np.bool_]:
    """Which of each row's numbers are the first `wanted` different ones: (T, M)."""
    order = np.sort((numbers << _PLACE_BITS) | np.arange(numbers.shape[1], dtype=np.uint64), axis=1)
    again = np.zeros(numbers.shape, dtype=bool)
    again[:, 1:] = (order[:, 1:] >> _PLACE_BITS) == (order[:, :-1] >> _PLACE_BITS)
    places = (order & ((np.uint64(1) << _PLACE_BITS) - np.uint64(1))).astype(np.int64)
    first = np.empty_like(again)
    np.put_along_axis(first, places, ~again, axis=1)
    return first & (np.cumsum(first, axis=1) <= wanted[:, None])


def check_rows(rows: pd.DataFrame) -> None:
    """Make sure of what every figure rests on, for some users' rows of all parts.

    Raises:
        HybridVAEError: a pair lies in two parts, or a row before a part is later than its user's first target there.
    """
    if rows.duplicated(["user_index", "item_index"]).any():
        raise HybridVAEError("split: a (user, item) pair lies in two parts; this is a defect, please report it.")
    for part, name in ((1, "validation"), (2, "test")):
        first = rows[(rows["part"] == part) & rows["target"]].groupby("user_index")["timestamp"].min()
        last = rows[(rows["part"] < part)].groupby("user_index")["timestamp"].max()
        if (last.reindex(first.index) > first).any():
            raise HybridVAEError(
                f"split: a row before the {name} part is later than its user's target; please report it."
            )
