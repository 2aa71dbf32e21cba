"""Statistics against SciPy and against examples worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hybridvae.evaluation.comparison import compare, metrics_table
from hybridvae.evaluation.intervals import EvaluationConfig, summarise
from hybridvae.evaluation.judge import Judgement
from hybridvae.evaluation.significance import bootstrap_intervals, effect_size, holm, sign_flip_p
from hybridvae.reporting.markdown import comparison_table


def test_holm_by_hand():
    # Sorted: .01 * 3 = .03, .02 * 2 = .04, .04 * 1 = .04 (never below the one before), in the given order.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_sign_flip_agrees_with_scipy():
    differences = np.random.default_rng(0).normal(0.3, 1, 40)
    judge = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=20_000, rng=1)
    ours = sign_flip_p(differences, permutations=20_000, random=np.random.default_rng(2))
    assert ours == pytest.approx(judge.pvalue, abs=0.01)


def test_sign_flip_of_three_users_is_exact_in_the_limit():
    # Of the 8 sign patterns 2 reach |1 + 1 + 1|.
    assert sign_flip_p(np.ones(3), permutations=40_000, random=np.random.default_rng(0)) == pytest.approx(
        0.25, abs=0.01
    )
    assert sign_flip_p(np.zeros(3), permutations=99, random=np.random.default_rng(0)) == 1.0


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=(300, 1))
    judge = stats.bootstrap((values[:, 0],), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    mean, low, high = bootstrap_intervals(values, np.ones((300, 1)), resamples=5000, random=np.random.default_rng(2))
    assert mean[0] == pytest.approx(values.mean())
    assert (low[0], high[0]) == pytest.approx((judge.low, judge.high), abs=0.01)


def test_effect_size_by_hand():
    assert effect_size(np.array([1.0, 3.0]), np.ones(2)) == pytest.approx(2 / np.sqrt(2))
    assert effect_size(np.zeros(5), np.ones(5)) == 0.0
    # Of weighted users the sign is that of the weighted mean, (9 - 2) / 11; the variance 2 x (9 x 16 + 2 x 324) / 11^3.
    assert effect_size(np.array([1.0, -1.0]), np.array([9.0, 2.0])) == pytest.approx((7 / 11) / np.sqrt(1584 / 1331))


def frame(sampled, full, targets):
    popular = {"full/popularity@10": 1.0, "full/recall@10": full, "full/recall@20": full, "full/mrr": full}
    rest = {"sampled/hit@10": sampled, "sampled/mrr": sampled, "sampled/recall@10": sampled}
    return pd.DataFrame({"targets": targets, "sampled/ndcg@10": sampled, "full/ndcg@10": full, **popular, **rest})


def judgement(per_user, coverage):
    return Judgement(per_user, per_target=pd.DataFrame(), coverage=coverage)


def test_sampled_figures_are_means_over_targets_and_full_ones_over_users():
    outcome = summarise(judgement(frame([1.0, 0.0], [1.0, 0.0], [3, 1]), 0.5), EvaluationConfig(), seed=1)
    assert outcome["users"] == 2 and outcome["targets"] == 4
    assert outcome["sampled"]["ndcg@10"]["mean"] == 0.75 and outcome["full"]["ndcg@10"]["mean"] == 0.5
    assert outcome["full"]["coverage@10"] == 0.5


def test_compare_finds_the_better_model_and_corrects():
    random = np.random.default_rng(0)
    base = random.random(200)
    frames = {
        "good": frame(base + 0.1, base + 0.1, 1),
        "same": frame(base + random.normal(0.1, 0.2, 200), base + 0.1, 1),
        "bad": frame(base, base, 1),
    }
    tests = compare(frames, reference="good", config=EvaluationConfig(permutations=2000), seed=3)
    assert tests["full"]["bad"]["difference"] == pytest.approx(0.1)
    assert tests["full"]["bad"]["p_holm"] == pytest.approx(2 / 2001) and tests["full"]["same"]["p_holm"] == 1.0
    assert tests["sampled"]["same"]["p_holm"] > 0.05

    metrics = {name: summarise(judgement(one, 1.0), EvaluationConfig(), seed=1) for name, one in frames.items()}
    assert list(metrics_table(metrics).index)[-1] == "bad"
    assert "| bad | " in comparison_table(metrics, tests)
