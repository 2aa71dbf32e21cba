"""The judge beside TREC's own evaluator, on rankings without ties; and scorers whose figures are known."""

import math

import numpy as np
import pytest
import pytrec_eval
from worlds import random_world, world

from hybridvae.evaluation.judge import judge

TREC_NAMES = {"ndcg": "ndcg_cut", "recall": "recall", "hit": "success"}
N_USERS, N_ITEMS = 30, 40


def trec(relevant, scored):
    """Metrics of trec_eval under our names: query -> metric -> value.

    Args:
        relevant: query -> items; scored: query -> item -> a score, distinct whole numbers.
    """
    wanted = {"ndcg_cut.5,10,20", "recall.5,10,20", "success.5,10,20", "recip_rank"}
    judge_of_trec = pytrec_eval.RelevanceEvaluator(
        {q: dict.fromkeys(items, 1) for q, items in relevant.items()}, wanted
    )
    found = judge_of_trec.evaluate(scored)
    names = {f"{ours}@{k}": f"{theirs}_{k}" for ours, theirs in TREC_NAMES.items() for k in (5, 10, 20)}
    names["mrr"] = "recip_rank"
    return {query: {ours: values[theirs] for ours, theirs in names.items()} for query, values in found.items()}


def tie_free(random):
    # trec_eval holds scores in single precision: whole numbers below 2^24 stay distinct there.
    return random.permutation(N_USERS * N_ITEMS).reshape(N_USERS, N_ITEMS).astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_full_ranking_agrees_with_trec_eval(seed):
    (interactions, targets), random = random_world(seed)
    scores = tie_free(random)
    frame = judge(lambda users: scores[users], interactions, targets).per_user.set_index("user_index")
    relevant, scored = {}, {}
    for user in frame.index:
        unseen = np.setdiff1d(np.arange(N_ITEMS), interactions.ratings[user].indices)
        relevant[str(user)] = [str(item) for item in targets.items[targets.users == user]]
        scored[str(user)] = {str(item): float(scores[user, item]) for item in unseen}
    for user, metrics in trec(relevant, scored).items():
        for name, value in metrics.items():
            assert frame.loc[int(user), f"full/{name}"] == pytest.approx(value, abs=1e-9), (user, name)


@pytest.mark.parametrize("seed", range(8))
def test_sampled_ranking_agrees_with_trec_eval(seed):
    (interactions, targets), random = random_world(seed)
    scores = tie_free(random)
    frame = judge(lambda users: scores[users], interactions, targets).per_user.set_index("user_index")
    relevant, scored = {}, {}
    for number, (user, item) in enumerate(zip(targets.users, targets.items, strict=True)):
        pool = {item, *targets.candidates[number]}
        relevant[str(number)] = [str(item)]
        scored[str(number)] = {str(other): float(scores[user, other]) for other in pool}
    of_target = trec(relevant, scored)
    for user in frame.index:
        mine = [of_target[str(number)] for number in np.flatnonzero(targets.users == user)]
        for name in mine[0]:
            expected = np.mean([metrics[name] for metrics in mine])
            assert frame.loc[user, f"sampled/{name}"] == pytest.approx(expected, abs=1e-9), (user, name)


def test_a_reversed_scorer_has_the_mirrored_rank():
    (interactions, targets), random = random_world(2)
    scores = tie_free(random)
    there = judge(lambda users: scores[users], interactions, targets).per_target
    back = judge(lambda users: -scores[users], interactions, targets).per_target
    unseen = N_ITEMS - np.diff(interactions.ratings.indptr)[targets.users]
    assert (there["full/rank"] + back["full/rank"] == unseen + 1).all()
    assert (there["sampled/rank"] + back["sampled/rank"] == targets.candidates.shape[1] + 2).all()


def test_a_constant_scorer_puts_every_target_in_the_middle():
    (interactions, targets), _ = random_world(3)
    kept = judge(lambda users: np.zeros((len(users), N_ITEMS)), interactions, targets).per_target
    unseen = N_ITEMS - np.diff(interactions.ratings.indptr)[targets.users]
    assert (kept["full/rank"] == (unseen + 1) / 2).all()


def test_targets_tied_with_each_other_by_hand():
    # Of six items, two targets and one other share the highest score: each target ranks 1 + 2 / 2 = 2.
    scores = np.array([[7, 7, 7, 1, 0, 2]], dtype=np.float32)
    interactions, targets = world(np.zeros((1, 6)), [(0, 0), (0, 1)], [[2, 3], [3, 4]])
    outcome = judge(lambda users: scores[users], interactions, targets)
    assert outcome.per_target["full/rank"].tolist() == [2, 2]
    assert outcome.per_target["sampled/rank"].tolist() == [1.5, 1]
    row = outcome.per_user.iloc[0]
    assert row["full/ndcg@5"] == pytest.approx(2 / math.log2(3) / (1 + 1 / math.log2(3)))
    assert row["sampled/mrr"] == pytest.approx((1 / 1.5 + 1) / 2)
