"""The judge, by hand and against a slow second opinion written from the definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from worlds import random_world, world

import hybridvae.arrays
from hybridvae.arrays import over_rows, top_k, users_at_a_time
from hybridvae.errors import HybridVAEError
from hybridvae.evaluation.judge import judge


def one_user(scores, target, candidates, seen=()):
    ratings = np.zeros((1, len(scores)))
    ratings[0, list(seen)] = 5
    matrix = np.array([scores], dtype=np.float32)
    interactions, targets = world(ratings, [(0, target)], [candidates])
    return judge(lambda users: matrix[users], interactions, targets).per_user.iloc[0]


def test_ranks_by_hand():
    # Scores: item 2 is greater, item 3 equal, items 0 and 4 lower: rank 1 + 1 + 0.5 among all.
    row = one_user([1, 5, 9, 5, 0], target=1, candidates=[2, 3, 0])
    gain = 1 / math.log2(1 + 2.5)
    assert row["sampled/ndcg@5"] == pytest.approx(gain) and row["full/ndcg@5"] == pytest.approx(gain)
    assert row["sampled/mrr"] == pytest.approx(1 / 2.5)
    # The greater item is seen: it leaves the full ranking, and stays among the candidates if it is one.
    row = one_user([1, 5, 9, 5, 0], target=1, candidates=[2, 3, -1], seen=[2])
    assert row["full/mrr"] == pytest.approx(1 / 1.5)


def test_a_tie_across_the_cutoff_is_a_miss():
    # Twelve equal scores: rank 1 + 11 / 2 = 6.5, outside 5 and inside 10.
    row = one_user([3.0] * 12, target=4, candidates=[i for i in range(12) if i != 4])
    assert row["sampled/hit@5"] == 0 and row["sampled/hit@10"] == 1 and row["full/recall@5"] == 0


def test_joint_targets_by_hand():
    # Targets at ranks 1 and 3 of five: recall@5 = 1, DCG = 1 + 1/2, IDCG = 1 + 1/log2(3).
    scores = np.array([[9, 8, 7, 6, 5]], dtype=np.float32)
    interactions, targets = world(np.zeros((1, 5)), [(0, 0), (0, 2)], [[1, 3], [1, 3]])
    row = judge(lambda users: scores[users], interactions, targets).per_user.iloc[0]
    assert row["full/ndcg@5"] == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3)))
    assert row["full/recall@5"] == 1 and row["full/mrr"] == 1
    # Sampled: each target alone among its own candidates: ranks 1 and 2.
    assert row["sampled/ndcg@5"] == pytest.approx((1 + 1 / math.log2(3)) / 2)


def test_the_ideal_is_cut_at_k():
    scores = np.arange(30, 0, -1, dtype=np.float32)[None, :]
    interactions, targets = world(np.zeros((1, 30)), [(0, i) for i in range(7)], [[29]] * 7)
    row = judge(lambda users: scores[users], interactions, targets).per_user.iloc[0]
    assert row["full/ndcg@5"] == pytest.approx(1) and row["full/recall@5"] == pytest.approx(5 / 7)


def test_targets_that_tie_with_each_other_fill_no_more_than_k_places():
    # Nine targets share the places 1 to 9, so all have rank 5, and the list of five is full of them.
    scores = np.array([[2.0] * 9 + [1.0] * 6], dtype=np.float32)
    interactions, targets = world(np.zeros((1, 15)), [(0, i) for i in range(9)], [[14]] * 9)
    row = judge(lambda users: scores[users], interactions, targets).per_user.iloc[0]
    assert row["full/ndcg@5"] == 1 and row["full/recall@5"] == pytest.approx(5 / 9)
    assert row["full/ndcg@10"] == pytest.approx(9 / math.log2(6) / sum(1 / math.log2(n) for n in range(2, 11)))


def test_a_target_that_was_seen_ranks_last():
    row = one_user([1, 5, 9, 4], target=2, candidates=[0], seen=[2])
    assert row["full/mrr"] == 1 / 4


def test_a_perfect_scorer_gets_all():
    (interactions, targets), random = random_world(0)
    scores = random.random((30, 40)).astype(np.float32)
    scores[targets.users, targets.items] += 1
    frame = judge(lambda users: scores[users], interactions, targets).per_user
    for name in ("sampled/ndcg@10", "sampled/mrr", "full/ndcg@10", "full/recall@5", "full/mrr"):
        np.testing.assert_allclose(frame[name], 1, atol=1e-12)


def test_a_vicious_scorer_gets_nothing():
    (interactions, targets), random = random_world(0)
    scores = random.random((30, 40)).astype(np.float32)
    scores[targets.users, targets.items] -= 1
    frame = judge(lambda users: scores[users], interactions, targets).per_user
    for name in ("sampled/ndcg@10", "full/ndcg@20", "full/hit@10"):
        assert (frame[name] == 0).all()


def test_a_constant_scorer_is_in_the_middle():
    (interactions, targets), _ = random_world(1)
    frame = judge(lambda users: np.ones((len(users), 40)), interactions, targets).per_user
    assert frame["sampled/mrr"].to_numpy() == pytest.approx(1 / (1 + 10 / 2))


def slow_opinion(scores, interactions, targets, k):
    """Full recall and NDCG by sorting, for scores without ties."""
    recalls, ndcgs = [], []
    for user in np.unique(targets.users):
        wanted = set(targets.items[targets.users == user])
        seen = set(interactions.ratings[user].indices)
        ranking = [item for item in np.argsort(-scores[user]) if item not in seen][:k]
        hits = [1 / math.log2(place + 2) for place, item in enumerate(ranking) if item in wanted]
        recalls.append(len(hits) / len(wanted))
        ndcgs.append(sum(hits) / sum(1 / math.log2(n + 2) for n in range(min(k, len(wanted)))))
    return recalls, ndcgs


@pytest.mark.parametrize("seed", range(5))
def test_full_ranking_agrees_with_a_slow_opinion(seed):
    (interactions, targets), random = random_world(seed)
    scores = random.permutation(30 * 40).reshape(30, 40).astype(np.float32)
    frame = judge(lambda users: scores[users], interactions, targets).per_user
    recalls, ndcgs = slow_opinion(scores, interactions, targets, 10)
    np.testing.assert_allclose(frame["full/recall@10"], recalls, atol=1e-12)
    np.testing.assert_allclose(frame["full/ndcg@10"], ndcgs, atol=1e-12)


def test_batches_do_not_change_the_result(monkeypatch):
    (interactions, targets), random = random_world(3)
    scores = random.random((30, 40)).astype(np.float32)
    whole = judge(lambda users: scores[users], interactions, targets)
    monkeypatch.setattr("hybridvae.evaluation.judge._BLOCK", 200)
    monkeypatch.setattr("hybridvae.arrays._USERS", 5)  # of 40 items, ...
    monkeypatch.setattr("hybridvae.arrays._CACHED", 80)  # ... two at a time
    monkeypatch.setattr("hybridvae.evaluation.judge._CACHED", 80)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    parts = judge(lambda users: scores[users], interactions, targets)
    assert whole.per_user.equals(parts.per_user) and whole.coverage == parts.coverage


def test_lists_coverage_and_popularity():
    ratings = np.zeros((2, 12))
    ratings[:, 0] = 5  # seen by both: never in a list
    ratings[1, 1] = 5
    scores = np.tile(np.arange(12, 0, -1, dtype=np.float32), (2, 1))
    interactions, targets = world(ratings, [(0, 5), (1, 5)], [[6], [6]])
    outcome = judge(lambda users: scores[users], interactions, targets)
    assert outcome.coverage == 11 / 12  # user 0: items 1 to 10; user 1: items 2 to 11
    assert outcome.per_user["full/popularity@10"].tolist() == pytest.approx([0.1, 0.0])


def test_a_list_holds_nothing_seen_even_where_little_is_left():
    ratings = np.zeros((1, 12))
    ratings[0, :9] = 5
    interactions, targets = world(ratings, [(0, 9)], [[10]])
    outcome = judge(lambda users: np.ones((1, 12)), interactions, targets)
    assert outcome.coverage == 3 / 12 and outcome.per_user["full/popularity@10"].tolist() == [0.0]


def test_cold_items_are_ranked_among_themselves_too():
    scores = np.array([[9, 8, 7, 6]], dtype=np.float32)
    interactions, targets = world(np.zeros((1, 4)), [(0, 3)], [[0]], cold=[0, 1, 2, 2])
    row = judge(lambda users: scores[users], interactions, targets).per_user.iloc[0]
    assert row["full/mrr"] == 1 / 4 and row["cold/mrr"] == 1 / 2


def test_a_score_that_is_no_number_is_refused():
    (interactions, targets), _ = random_world(0)
    with pytest.raises(HybridVAEError, match="not a finite number"):
        judge(lambda users: np.full((len(users), 40), np.nan), interactions, targets)


@settings(max_examples=60, deadline=None)
@given(
    scores=arrays(np.float32, (4, 9), elements=st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 0.5, 2.0])),
    k=st.integers(1, 12),
)
def test_top_k_is_a_stable_sort(scores, k):
    assert np.array_equal(top_k(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


@settings(max_examples=60, deadline=None)
@given(
    scores=arrays(np.float32, (3, 41), elements=st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 0.5, 2.0]))
    | arrays(np.float32, (3, 41), elements=st.floats(-4, 4, width=32)),
    k=st.integers(1, 12),
)
def test_top_k_of_long_rows_is_a_stable_sort(scores, k):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybridvae.arrays, "_GROUP", 2)
        assert np.array_equal(top_k(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


def test_top_k_of_a_catalogue_of_realistic_length():
    random = np.random.default_rng(0)
    scores = random.standard_normal((3, 20_011), dtype=np.float32)
    scores[1] = np.round(scores[1], 1)  # hundreds of equal scores, also at the k-th place
    scores[2] = 0
    for rows in (scores[:1], scores):  # the last of many equal scores takes the way of short rows
        assert np.array_equal(top_k(rows, 10), np.argsort(-rows, axis=1, kind="stable")[:, :10])


@pytest.mark.parametrize("threads", ["1", "3", "", "many"])
def test_blocks_of_rows_come_back_in_order(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(hybridvae.arrays, "_CACHED", 10)
    assert over_rows(lambda rows: (rows.start, rows.stop), (5, 4)) == [(0, 2), (2, 4), (4, 5)]
    assert over_rows(lambda rows: (rows.start, rows.stop), (2, 99)) == [(0, 1), (1, 2)]
    assert over_rows(lambda rows: rows, (0, 7)) == []


def test_a_model_is_asked_for_enough_users_at_a_time_and_for_no_more_scores_than_there_is_room_for():
    sizes = (1000, 100_000, 500_000, 4_000_000, 10**9)
    assert [users_at_a_time(items, 1 << 23) for items in sizes] == [8388, 128, 128, 16, 1]
