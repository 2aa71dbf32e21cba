"""Recommendations of a fitted model: for users it knows, and for histories it has never seen.

A checkpoint, as `hybridvae.checkpoint` writes it, is enough for histories; for users the ratings must be at hand.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from numbers import Integral
from pathlib import Path
from typing import Annotated, Self, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray, mask_seen, over_rows, top_k, users_at_a_time
from hybridvae.checkpoint import read_checkpoint
from hybridvae.config import Parameters, Within
from hybridvae.data.interactions import Interactions, ages
from hybridvae.errors import BadDataError, BadParameterError, quoted
from hybridvae.files import atomic_path
from hybridvae.models import Context, FoldingRecommender, Recommender
from hybridvae.progress import progress

_BLOCK = 1 << 22  # scores held at a time (16 MB), but see `users_at_a_time`


@dataclass(frozen=True)
class RecommendConfig(Parameters):
    """The block `recommend` of params.yaml."""

    model: str = "hybridvae"  # one of `models`
    top_n: Annotated[int, Within(1, 100_000)] = 20  # items of each user's list


@dataclass(frozen=True)
class Lists:
    """The best items of B users, the best first.

    Attributes:
        items: (B, K) item indices; -1 where a user has fewer than K items left.
        scores: (B, K) float32; -inf there.
    """

    items: IntArray
    scores: FloatArray


@dataclass(frozen=True)
class Recommendations:
    """A fitted model with the names of its items, and with what is known of users.

    Attributes:
        name: of the model, as in params.yaml.
        model: the fitted model.
        known: the users with all they ever rated, which the model need not have been fitted on; or the catalogue
            alone, without users.
    """

    name: str
    model: Recommender
    known: Interactions

    @cached_property
    def _index(self) -> dict[str, int]:
        return {item: index for index, item in enumerate(self.known.items)}

    @classmethod
    def load(cls, folder: Path | str, known: Interactions | None = None, *, device: str = "auto") -> Self:
        """Read a checkpoint.

        Args:
            known: the users, in the order in which the model was fitted on them, and their histories; by default
                there are none, and recommendations are for histories alone.

        Raises:
            UnreadableFileError: the folder holds no checkpoint, a damaged one, or one of others than `known`.
        """
        return cls(*read_checkpoint(Path(folder), known, Context(device=device)))

    @property
    def folds_in(self) -> bool:
        """Whether the model takes histories of users whom it was not fitted on."""
        return self.model.folds_in

    def folding(self) -> FoldingRecommender:
        """The model, as one that takes histories.

        Raises:
            BadParameterError: it does not.
        """
        if not self.folds_in:
            raise BadParameterError(
                f"{self.name} knows only the users whom it was fitted on: take a model that folds in histories, "
                "such as hybridvae or ease."
            )
        return cast(FoldingRecommender, self.model)

    def recommend(self, history: Sequence[str], *, k: int = 10, exclude: Sequence[str] = ()) -> pd.DataFrame:
        """The k best items for a history, which are none of it.

        Args:
            history: item ids in the order in which they were chosen, the latest last.
            exclude: more item ids that must not be in the list.

        Returns:
            Columns rank (from 1), item_id, score, title.

        Raises:
            BadDataError: an item is unknown.
            BadParameterError: the model cannot fold in a history, or k is no whole number above 0.
        """
        lists = self.for_histories(self.history(history), k, exclude=self.indices(exclude))
        items, scores = lists.items[0], lists.scores[0]
        items, scores = items[items >= 0], scores[items >= 0]
        return pd.DataFrame(
            {
                "rank": np.arange(1, len(items) + 1),
                "item_id": self.known.items[items],
                "score": scores,
                "title": self.known.titles[items],
            }
        )

    def find(self, item_ids: Sequence[str]) -> tuple[list[int], list[str]]:
        """The indices of the items that are in the catalogue, and the ids of the others, both in the order given."""
        found = [(item, self._index.get(item)) for item in item_ids]
        return [index for _, index in found if index is not None], [item for item, index in found if index is None]

    def indices(self, item_ids: Sequence[str]) -> IntArray:
        """Item ids as indices; a number is taken for the id that is written so.

        Raises:
            BadDataError: an item is not in the catalogue.
        """
        found, unknown = self.find([str(item) for item in item_ids])
        if unknown:
            names = ", ".join(map(quoted, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise BadDataError(
                f"{names}: not in the catalogue of {self.known.n_items:,} items; leave out what the model cannot know."
            )
        return np.array(found, dtype=np.int64)

    def history(self, item_ids: Sequence[str]) -> sparse.csr_matrix:
        """Item ids, the latest last, as (1, I) CSR of ages; of an item named twice the later place counts.

        Raises:
            BadDataError: an item is not in the catalogue.
        """
        items, ages = aged(self.indices(item_ids).tolist())
        return sparse.csr_matrix((ages, items, [0, len(items)]), shape=(1, self.known.n_items))

    def for_users(
        self, users: IntArray, k: int, *, exclude_seen: bool = True, exclude: IntArray | None = None
    ) -> Lists:
        """The k best items of known users.

        Args:
            users: (B,) user indices.
            exclude_seen: leave out what a user ever rated, liked or not.
            exclude: item indices that must be in no list.
        """
        seen = self.known.ratings[users] if exclude_seen else None
        return best(self.model.scores(users), k, seen=seen, exclude=exclude)

    def for_histories(
        self,
        histories: sparse.csr_matrix,
        k: int,
        *,
        exclude_seen: bool = True,
        seen: sparse.csr_matrix | None = None,
        exclude: IntArray | None = None,
    ) -> Lists:
        """The k best items for histories.

        Args:
            histories: (B, I) CSR of ages, 1 for the latest item.
            exclude_seen: leave out what is in `seen`.
            seen: (B, I) CSR of what was rated at all; by default the histories.

        Raises:
            BadParameterError: the model cannot fold in a history.
        """
        excluded = (histories if seen is None else seen) if exclude_seen else None
        return best(self.folding().scores_of(histories), k, seen=excluded, exclude=exclude)

    def reasons(self, history: sparse.csr_matrix, items: IntArray, *, of: IntArray | None = None) -> FloatArray:
        """What each item of a history adds to the scores of recommended items: the loss of score without it.

        It is the model itself that is asked, once for each item left out, so that the answer holds for any of them.

        Args:
            history: (1, I) CSR of ages, with H items.
            items: (K,) recommended items.
            of: (N,) which places of `history.indices` to leave out in turn; by default all H.

        Returns:
            (N, K) float32.

        Raises:
            BadParameterError: the model cannot fold in a history, and so cannot say what one of its items does.
        """
        model = self.folding()
        whole = model.scores_of(history)[0, items]
        length = history.nnz
        of = np.arange(length) if of is None else of
        contributions = np.empty((len(of), len(items)), dtype=np.float32)
        # At most 64 a step: torch keeps memory for every size of a product that it has met.
        step = min(64, max(1, _BLOCK // self.known.n_items))
        for begin in range(0, len(of), step):
            left_out = of[begin : begin + step]
            kept = np.tile(np.arange(length), (len(left_out), 1)) != left_out[:, None]  # (B, H)
            repeated = sparse.csr_matrix(
                (
                    np.tile(history.data, len(left_out))[kept.ravel()],
                    np.tile(history.indices, len(left_out))[kept.ravel()],
                    np.arange(len(left_out) + 1) * (length - 1),
                ),
                shape=(len(left_out), history.shape[1]),
            )
            contributions[begin : begin + step] = whole - model.scores_of(repeated)[:, items]
        return contributions

    def for_everyone(self, k: int) -> Iterator[pd.DataFrame]:
        """The k best unseen items of every known user, a block of users at a time, in the order of the users.

        Yields:
            Columns user_id, rank (from 1), item_id, score, title.
        """
        step = users_at_a_time(self.known.n_items, _BLOCK)
        for begin in progress(range(0, self.known.n_users, step), doing="recommend", unit="blocks of users"):
            users = np.arange(begin, min(begin + step, self.known.n_users))
            lists = self.for_users(users, k)
            row, place = np.nonzero(lists.items >= 0)
            items = lists.items[row, place]
            yield pd.DataFrame(
                {
                    "user_id": self.known.users[users[row]],
                    "rank": (place + 1).astype(np.int32),
                    "item_id": self.known.items[items],
                    "score": lists.scores[row, place],
                    "title": self.known.titles[items],
                }
            )


def load_model(folder: Path | str, *, device: str = "auto") -> Recommendations:
    """The model in a folder that `train` wrote, with the names of its items: `load_model(folder).recommend([...])`.

    Raises:
        UnreadableFileError: the folder holds no checkpoint, or a damaged one.
    """
    return Recommendations.load(folder, device=device)


def aged(items: Sequence[int]) -> tuple[IntArray, FloatArray]:
    """Item indices, the latest last, as sorted indices and ages (H,); of a repeated item the later place counts."""
    latest_last = np.array(list(dict.fromkeys(reversed(items)))[::-1], dtype=np.int64)
    order = np.argsort(latest_last)
    return latest_last[order], ages(np.array([len(order)]))[order].astype(np.float32)


def best(
    scores: FloatArray, k: int, *, seen: sparse.csr_matrix | None = None, exclude: IntArray | None = None
) -> Lists:
    """The k highest scores of each row, of equal ones the item of the lower index first.

    Args:
        scores: (B, I).
        k: beyond I, all are listed.
        seen: (B, I) CSR; what is stored in a row is left out of it.
        exclude: item indices left out of every row.

    Raises:
        BadParameterError: k is no whole number above 0.
    """
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise BadParameterError(
            f"k is {quoted(k)}: give a whole number above 0, of the items that the list shall have."
        )
    blocks = over_rows(partial(_best_of, scores, int(k), seen, exclude), scores.shape)
    if not blocks:
        return Lists(np.zeros((0, k), dtype=np.int64), np.zeros((0, k), dtype=np.float32))
    return Lists(np.concatenate([block.items for block in blocks]), np.concatenate([block.scores for block in blocks]))


def _best_of(
    scores: FloatArray, k: int, seen: sparse.csr_matrix | None, exclude: IntArray | None, rows: slice
) -> Lists:
    """As `best`, of some rows."""
    masked = np.array(scores[rows], dtype=np.float32)  # a copy
    if seen is not None:
        mask_seen(masked, seen[rows])
    if exclude is not None:
        masked[:, exclude] = -np.inf
    items = top_k(masked, k)
    found = np.take_along_axis(masked, items, axis=1)
    return Lists(np.where(np.isneginf(found), -1, items), found)


def write_lists(path: Path, recommendations: Recommendations, k: int) -> int:
    """Write everyone's k best items to Parquet, atomically and in bounded memory; returns the number of rows."""
    rows = 0
    with atomic_path(path) as partial, ExitStack() as files:
        writer: pq.ParquetWriter | None = None
        for block in recommendations.for_everyone(k):
            table = pa.Table.from_pandas(block, preserve_index=False)
            if writer is None:
                writer = files.enter_context(pq.ParquetWriter(partial, table.schema, compression="zstd"))
            writer.write_table(table)
            rows += len(block)
    return rows
