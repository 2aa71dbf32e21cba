"""Where a model is good: NDCG@10 for users of short and long history, for targets of the head and the tail."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hybridvae.data.interactions import Interactions
from hybridvae.evaluation.intervals import EvaluationConfig, user_weights
from hybridvae.evaluation.significance import Floats, bootstrap_intervals
from hybridvae.seeds import random_generator

HISTORY_FROM = (0, 5, 10, 20)  # a user's positives before the part: slices begin here
POPULARITY = ("head", "torso", "tail")
METRIC = "/ndcg@10"


def slices(
    users: pd.DataFrame, targets: pd.DataFrame, interactions: Interactions, config: EvaluationConfig, *, seed: int
) -> dict[str, dict[str, Any]]:
    """NDCG@10 with 95 % intervals, by slices.

    *history*: users by their number of positives before the part; figures as in the whole.
    *popularity*: targets by their item, which is of the head when the most liked items that together hold
    a third of all positives include it, of the torso within the next third, of the tail otherwise. The
    figure is a mean over targets, each of which is an only one (so the ideal is 1); in the full ranking
    another target of the same user may stand before it.

    Args:
        users, targets: `per_user` and `per_target` of a judgement, or their means over several.

    Returns:
        slicing -> slice -> {"users", "targets", protocol: {"mean", "low", "high"}}; empty slices are left out.
    """
    columns = [name for name in targets.columns if name.endswith(METRIC)]
    protocols = [name.removesuffix(METRIC) for name in columns]

    def figures(chosen: pd.DataFrame, weights: Floats) -> dict[str, Any]:
        bounds = bootstrap_intervals(
            chosen[columns].to_numpy(dtype=np.float64),
            weights,
            resamples=config.bootstrap_resamples,
            random=random_generator(seed, "bootstrap"),
        )
        of_protocol = zip(protocols, *(bound.tolist() for bound in bounds), strict=True)
        return {"users": len(chosen), "targets": int(chosen["targets"].sum())} | {
            protocol: {"mean": mean, "low": low, "high": high} for protocol, mean, low, high in of_protocol
        }

    found: dict[str, dict[str, Any]] = {"history": {}, "popularity": {}}
    history = np.diff(interactions.positives.indptr)[users["user_index"]]
    for first, end in zip(HISTORY_FROM, (*HISTORY_FROM[1:], np.inf), strict=True):
        chosen = users[(history >= first) & (history < end)]
        if len(chosen):
            weights = np.stack([user_weights(chosen, column) for column in columns], axis=1)
            name = f"under {int(end)}" if not first else f"{first}+" if np.isinf(end) else f"{first}-{int(end) - 1}"
            found["history"][name] = figures(chosen, weights)
    kinds = popularity_thirds(interactions)[targets["item_index"]]
    for number, name in enumerate(POPULARITY):
        chosen = targets[kinds == number]
        if len(chosen):
            by_user = chosen.groupby("user_index")[columns]
            of_users = by_user.mean().assign(targets=by_user.size())
            found["popularity"][name] = figures(of_users, of_users["targets"].to_numpy(dtype=np.float64)[:, None])
    return found


def popularity_thirds(interactions: Interactions) -> npt.NDArray[np.int64]:
    """(I,) 0 for items of the head, 1 of the torso, 2 of the tail, each holding a third of the positives."""
    counts = interactions.item_counts
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order], dtype=np.float64) - counts[order]  # positives of the more popular items
    kinds = np.empty(len(counts), dtype=np.int64)
    kinds[order] = np.where(counts[order] > 0, np.minimum(3 * before // max(1, counts.sum()), 2), 2)
    return kinds
