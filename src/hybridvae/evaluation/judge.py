"""The judge: ranks held-out positives by two protocols, and gives every metric per user.

A rank is 1 + the number of greater scores + half the number of equal others, so that no model gains
from ties; a hit at K is a rank <= K; and the gain of a hit is 1 / log2(1 + rank).

*Sampled*: each target is ranked among its own stored negatives, of which it has at least one; figures are means over
targets.
*Full*: all of a user's targets are ranked among all items but those the user has seen before the part;
recall is hits / targets, and the ideal DCG is that of min(targets, K) hits; figures are means over users.
*Cold* (where the split has cold items): as full, but among the cold items of the part alone.

Sampled figures can order models differently from full ones (Krichene & Rendle 2020), so both are given, and
choices are made on the full ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from hybridvae.arrays import FloatArray, IntArray, arrays_sha256, mask_seen, over_rows, top_k, users_at_a_time
from hybridvae.data.interactions import Interactions, Targets
from hybridvae.errors import BadDataError, BadParameterError
from hybridvae.evaluation.protocols import PROTOCOLS, ProtocolName
from hybridvae.progress import progress

if TYPE_CHECKING:
    from hybridvae.models import Recommender

Scores = Callable[[IntArray], FloatArray]
Ranks = npt.NDArray[np.float64]

CUTOFFS = (5, 10, 20)
LIST_LENGTH = 10  # of the lists whose coverage and popularity are measured
_DECIMALS = 9  # of the values of users and targets
_BLOCK = 1 << 23  # scores held at a time (32 MB), but see `users_at_a_time`
_CACHED = 1 << 18  # scores that are compared at a time (1 MB)


@dataclass(frozen=True)
class Judgement:
    """Per-user results of one model.

    Attributes:
        per_user: one row a user with targets: user_index, targets, `<protocol>/<metric>` columns and
            `full/popularity@10`, the mean number of positives of the items in the user's top 10.
        per_target: one row a target: user_index, item_index, negatives (how many it had, where they were ranked), by
            each protocol its rank in `<protocol>/rank`, and the gain of that rank, as if it were the only target, in
            `<protocol>/ndcg@10`. Everything else can be computed from the ranks without scoring.
        coverage: share of the catalogue that stands in at least one user's top 10.
    """

    per_user: pd.DataFrame
    per_target: pd.DataFrame
    coverage: float


def judge(
    scores: Scores,
    interactions: Interactions,
    targets: Targets,
    *,
    protocols: tuple[ProtocolName, ...] = PROTOCOLS,
    cutoffs: tuple[int, ...] = CUTOFFS,
    lists: bool = True,
) -> Judgement:
    """Rank the targets by a model's scores.

    Args:
        scores: (B,) user indices -> (B, I) float32.
        interactions: what the model was fitted on; its ratings are the seen items.
        protocols: "cold" is passed over where the part has no cold items.
        lists: whether to measure the top-10 lists (coverage and popularity) with the protocol "full".

    Raises:
        BadDataError: a target has no negative, so that any scores would put it first.
        BadParameterError: a score is not finite.
    """
    negatives = (targets.candidates >= 0).sum(axis=1)
    if "sampled" in protocols and not negatives.all():
        raise BadDataError("a target has no negatives to be ranked among: run `dvc repro split` again.")
    n_items = interactions.n_items
    cold = interactions.cold == targets.part
    if not cold.any():
        protocols = tuple(name for name in protocols if name != "cold")
    asked = _Asked(interactions, targets, protocols, cutoffs, lists, cold, *_users_of(targets))
    blocks: list[_Block] = []
    recommended = np.zeros(n_items, dtype=bool)
    batch = users_at_a_time(n_items, _BLOCK)
    begins = range(0, len(asked.users), batch)
    # Only the long judgement shows how far it is: a fit has a line of its own.
    for begin in progress(begins, doing="rank", unit="blocks of users") if lists else begins:
        given = scores(asked.users[begin : begin + batch])
        for block in over_rows(partial(asked.ranked, given, begin), given.shape):
            recommended[block.recommended] = True
            blocks.append(block)
    per_user = pd.DataFrame(
        {"user_index": asked.users, "targets": asked.counts} | _joined([block.of_users for block in blocks])
    )
    per_target = pd.DataFrame({"user_index": targets.users, "item_index": targets.items})
    if "sampled" in protocols:
        per_target["negatives"] = negatives
    per_target = per_target.assign(**_joined([block.of_targets for block in blocks]))
    return Judgement(per_user, per_target, float(recommended.mean()))


@dataclass(frozen=True)
class _Block:
    """What was found of some users: columns by name, a row a user and a row a target, and the items of their lists."""

    of_users: dict[str, Ranks]
    of_targets: dict[str, Ranks]
    recommended: IntArray


@dataclass(frozen=True)
class _Asked:
    """What is judged, and how; user `users[n]` has the `counts[n]` targets from `starts[n]` on."""

    interactions: Interactions
    targets: Targets
    protocols: tuple[ProtocolName, ...]
    cutoffs: tuple[int, ...]
    lists: bool
    cold: npt.NDArray[np.bool_]  # (I,) whether an item is among those of the protocol "cold"
    users: IntArray
    starts: IntArray
    counts: IntArray

    def ranked(self, given: FloatArray, begin: int, rows: slice) -> _Block:
        """Judge some users.

        Args:
            given: (B, I) the scores of the users from `begin` on, which stay as they are.
            rows: which of them.
        """
        chosen = slice(begin + rows.start, begin + rows.stop)
        users, lengths = self.users[chosen], self.counts[chosen]
        first = self.starts[chosen.start]
        part = slice(first, first + lengths.sum())
        owner = np.repeat(np.arange(len(users)), lengths)  # (T,) row of each target's user
        items = self.targets.items[part]
        of_users: dict[str, Ranks] = {}
        of_targets: dict[str, Ranks] = {}
        recommended: IntArray = np.zeros(0, dtype=np.int64)
        matrix = np.array(given[rows], dtype=np.float32)  # a copy: the seen are masked below
        if not np.isfinite(matrix).all():
            raise BadParameterError("a model gave a score that is not a finite number: its training has diverged.")
        own = matrix[owner, items]
        if "sampled" in self.protocols:
            ranks = sampled_ranks(matrix, owner, own, self.targets.candidates[part])
            of_targets |= _of_targets("sampled", ranks)
            of_users |= _means("sampled", per_target_metrics(ranks, self.cutoffs), owner, lengths)
        mask_seen(matrix, self.interactions.ratings[users])
        own = matrix[owner, items]
        if "full" in self.protocols:
            ranks = full_ranks(matrix, owner, own, items)
            of_targets |= _of_targets("full", ranks)
            metrics = joint_metrics(ranks, owner, lengths, self.cutoffs)
            of_users |= {f"full/{name}": values for name, values in metrics.items()}
            if self.lists:
                top = top_k(matrix, LIST_LENGTH)
                unseen = np.isfinite(np.take_along_axis(matrix, top, axis=1))  # fewer where nearly all is seen
                recommended = top[unseen]
                total = (self.interactions.item_counts[top] * unseen).sum(axis=1)
                of_users[f"full/popularity@{LIST_LENGTH}"] = total / np.maximum(unseen.sum(axis=1), 1)
        if "cold" in self.protocols:
            matrix[:, ~self.cold] = -np.inf
            ranks = full_ranks(matrix, owner, own, items)
            of_targets |= _of_targets("cold", ranks)
            metrics = joint_metrics(ranks, owner, lengths, self.cutoffs)
            of_users |= {f"cold/{name}": values for name, values in metrics.items()}
        return _Block(of_users, of_targets, recommended)


def _users_of(targets: Targets) -> tuple[IntArray, IntArray, IntArray]:
    """The users with targets, where those of each begin, and how many they are."""
    users, starts, counts = np.unique(targets.users, return_index=True, return_counts=True)
    return users, starts, counts


def _joined(blocks: list[dict[str, Ranks]]) -> dict[str, Ranks]:
    """Blocks of values put together, without the last digits, in which processors differ for the same ranks."""
    names = blocks[0] if blocks else {}
    return {name: np.concatenate([block[name] for block in blocks]).round(_DECIMALS) for name in names}


def sampled_ranks(matrix: FloatArray, owner: IntArray, own: FloatArray, candidates: IntArray) -> Ranks:
    """Rank (T,) each target among its own candidates (T, N); a candidate of -1 is none."""
    others = matrix[owner[:, None], candidates]
    real = candidates >= 0
    greater = ((others > own[:, None]) & real).sum(axis=1)
    equal = ((others == own[:, None]) & real).sum(axis=1)
    ranks: Ranks = 1 + greater + 0.5 * equal
    return ranks


def full_ranks(matrix: FloatArray, owner: IntArray, own: FloatArray, items: IntArray) -> Ranks:
    """Rank (T,) each target among its user's whole row of `matrix` (B, I), -inf being left out.

    A target that is itself masked ranks behind all that are not.
    """
    ranks = np.empty(len(owner), dtype=np.float64)
    step = max(1, _CACHED // matrix.shape[1])
    for begin in range(0, len(owner), step):
        part = slice(begin, begin + step)
        rows, mine = matrix[owner[part]], own[part, None]
        greater = np.count_nonzero(rows > mine, axis=1)
        equal = np.count_nonzero(rows == mine, axis=1)  # itself included
        ranks[part] = 1 + greater + 0.5 * (equal - 1)
    return ranks


def per_target_metrics(ranks: Ranks, cutoffs: tuple[int, ...]) -> dict[str, Ranks]:
    """Metrics (T,) of one target a ranking, for which hit and recall are the same."""
    metrics: dict[str, Ranks] = {}
    gains = 1 / np.log2(1 + ranks)
    for k in cutoffs:
        hits = (ranks <= k).astype(np.float64)
        metrics |= {f"recall@{k}": hits, f"ndcg@{k}": gains * hits, f"hit@{k}": hits}
    return metrics | {"mrr": 1 / ranks}


def joint_metrics(ranks: Ranks, owner: IntArray, lengths: IntArray, cutoffs: tuple[int, ...]) -> dict[str, Ranks]:
    """Metrics (B,) of all of a user's targets in one ranking; targets are ordered by user.

    Targets that tie with each other share a rank, so that more than k of them may lie above k: k count, and NDCG
    stays at 1.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    gains = 1 / np.log2(1 + ranks)
    longest = max(cutoffs)
    ideal = np.cumsum(1 / np.log2(np.arange(2, longest + 2)))  # ideal[n - 1]: DCG of n hits at the top
    metrics: dict[str, Ranks] = {}
    for k in cutoffs:
        hits = (ranks <= k).astype(np.float64)
        found = np.minimum(np.add.reduceat(hits, starts), k)
        metrics[f"recall@{k}"] = found / lengths
        gained = np.add.reduceat(gains * hits, starts) / ideal[np.minimum(lengths, k) - 1]
        metrics[f"ndcg@{k}"] = np.minimum(gained, 1)
        metrics[f"hit@{k}"] = (found > 0).astype(np.float64)
    metrics["mrr"] = np.maximum.reduceat(1 / ranks, starts)
    return metrics


def _means(protocol: ProtocolName, metrics: dict[str, Ranks], owner: IntArray, lengths: IntArray) -> dict[str, Ranks]:
    """The mean over each user's targets; weighted by their number it gives the mean over targets."""
    sums = {name: np.bincount(owner, weights=values, minlength=len(lengths)) for name, values in metrics.items()}
    return {f"{protocol}/{name}": values / lengths for name, values in sums.items()}


def _of_targets(protocol: ProtocolName, ranks: Ranks) -> dict[str, Ranks]:
    gain = f"ndcg@{LIST_LENGTH}"
    gains = per_target_metrics(ranks, (LIST_LENGTH,))[gain]
    return {f"{protocol}/rank": ranks, f"{protocol}/{gain}": gains}


def validation_ndcg(scores: Scores, interactions: Interactions, targets: Targets) -> float:
    """Full-ranking NDCG@10, the one figure by which epochs and configurations are chosen."""
    outcome = judge(scores, interactions, targets, protocols=("full",), cutoffs=(10,), lists=False)
    return float(outcome.per_user["full/ndcg@10"].mean())


@dataclass(frozen=True)
class ValidationNDCG:
    """`validation_ndcg` against these targets, as a fit takes it; an interrupted fit goes on only with an equal one."""

    interactions: Interactions
    targets: Targets

    def __call__(self, model: "Recommender") -> float:
        """The figure of a model."""
        return validation_ndcg(model.scores, self.interactions, self.targets)

    @property
    def identity(self) -> str:
        """A hash over the targets and all that was seen. Which figure it is, at which cutoff, is in the code."""
        seen, targets = self.interactions.ratings, self.targets
        part = np.array([*seen.shape, targets.part])
        held_out = (targets.users, targets.items, targets.candidates)
        return arrays_sha256(part, seen.indptr, seen.indices, seen.data, self.interactions.cold, *held_out)
