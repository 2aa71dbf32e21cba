"""Slices by hand, and the averages over seeds that a benchmark makes of them."""

import math

import numpy as np
import pandas as pd
import pytest
from worlds import random_world, world

from hybridvae.evaluation.intervals import EvaluationConfig
from hybridvae.evaluation.judge import judge
from hybridvae.evaluation.slices import popularity_thirds, slices

FEW = EvaluationConfig(bootstrap_resamples=50)


def test_thirds_of_the_positives():
    # Items have 6, 3, 2 and 1 of 12 positives: the first alone holds half, the next begins at 6 of 12.
    ratings = np.zeros((6, 5))
    for item, count in enumerate([3, 6, 2, 1, 0]):
        ratings[:count, item] = 5
    interactions, _ = world(ratings, [(0, 4)], [[3]])
    assert popularity_thirds(interactions).tolist() == [1, 0, 2, 2, 2]


def test_slices_by_hand():
    # User 0 likes 2 items, user 1 likes 5; the target of each is item 6, at rank 1 for user 0 and 2 for user 1.
    ratings = np.zeros((2, 8))
    ratings[0, :2], ratings[1, :5] = 5, 5
    interactions, targets = world(ratings, [(0, 6), (1, 6)], [[5], [5]])
    scores = np.array([[0, 0, 0, 0, 0, 1, 9, 2], [0, 0, 0, 0, 0, 1, 5, 9]], dtype=np.float32)
    outcome = judge(lambda users: scores[users], interactions, targets)
    found = slices(outcome.per_user, outcome.per_target, interactions, FEW, seed=1)
    assert list(found["history"]) == ["under 5", "5-9"]
    assert found["history"]["under 5"]["full"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert found["history"]["5-9"]["full"]["mean"] == pytest.approx(1 / math.log2(3))
    assert found["history"]["5-9"]["sampled"]["mean"] == 1.0
    assert list(found["popularity"]) == ["tail"]
    assert found["popularity"]["tail"]["targets"] == 2
    assert found["popularity"]["tail"]["full"]["mean"] == pytest.approx((1 + 1 / math.log2(3)) / 2)


def test_slices_hold_everyone_once():
    (interactions, targets), random = random_world(4)
    scores = random.random((30, 40)).astype(np.float32)
    outcome = judge(lambda users: scores[users], interactions, targets)
    found = slices(outcome.per_user, outcome.per_target, interactions, FEW, seed=1)
    assert sum(part["users"] for part in found["history"].values()) == 30
    for slicing in ("history", "popularity"):
        parts = found[slicing].values()
        assert sum(part["targets"] for part in parts) == len(targets.items)
        # The sampled figures are means over targets, so those of the whole are the weighted means of the slices'.
        whole = np.average(outcome.per_user["sampled/ndcg@10"], weights=outcome.per_user["targets"])
        again = sum(part["targets"] * part["sampled"]["mean"] for part in parts) / len(targets.items)
        assert again == pytest.approx(whole)


def test_ranks_are_kept_and_give_the_gains():
    (interactions, targets), random = random_world(5)
    scores = random.random((30, 40)).astype(np.float32)
    kept = judge(lambda users: scores[users], interactions, targets).per_target
    assert kept["item_index"].tolist() == targets.items.tolist()
    ranks = kept["full/rank"]
    expected = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0)
    pd.testing.assert_series_equal(kept["full/ndcg@10"], pd.Series(expected, name="full/ndcg@10"))
