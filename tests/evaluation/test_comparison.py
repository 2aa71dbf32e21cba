"""What text adds, family by family, against cases worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from hybridvae.evaluation.comparison import compare_pairs
from hybridvae.evaluation.families import FAMILIES, reads_text
from hybridvae.evaluation.intervals import EvaluationConfig
from hybridvae.reporting.markdown import gain_of, pairs_table

CONFIG = EvaluationConfig(bootstrap_resamples=1000, permutations=2000)


def users(*values, targets=1):
    """Users with the same NDCG@10 by both protocols."""
    return pd.DataFrame(
        {"targets": targets, "sampled/ndcg@10": values, "full/ndcg@10": values}, index=range(len(values))
    )


def pairs_of(**per_user):
    return compare_pairs(per_user, config=CONFIG, seed=7)


def test_the_gain_is_the_ratio_of_means_and_its_interval_is_over_users():
    """Of two users a resample is the first twice (a quarter), the second twice (a quarter) or both.

    Over users the means are .2 and .25, a gain of .25; of the first alone it is 1, of the second 0. Over targets, of
    which the first has 3 and the second 1, they are .15 and .225, a gain of .5, and the ends are the same.
    """
    targets = [3, 1]
    pairs = pairs_of(multvae=users(0.1, 0.3, targets=targets), hybridvae=users(0.2, 0.3, targets=targets))
    assert list(pairs) == ["sampled", "full"] and list(pairs["full"]) == ["autoencoder"]
    full, sampled = pairs["full"]["autoencoder"], pairs["sampled"]["autoencoder"]
    assert full["without"] == {"model": "multvae", "mean": pytest.approx(0.2)}
    assert full["with_text"] == {"model": "hybridvae", "mean": pytest.approx(0.25)}
    assert sampled["without"]["mean"] == pytest.approx(0.15) and sampled["with_text"]["mean"] == pytest.approx(0.225)
    names = ("difference", "relative", "low", "high")
    assert [full[name] for name in names] == pytest.approx([0.05, 0.25, 0.0, 1.0])
    assert [sampled[name] for name in names] == pytest.approx([0.075, 0.5, 0.0, 1.0])
    assert full["p"] == 1.0, "with the sign of its one difference turned, the sum is as far from zero"


def test_a_gain_of_all_users_alike_is_certain():
    before = np.linspace(0.1, 0.4, 12)
    pair = pairs_of(ease=users(*before), ease_text=users(*(1.5 * before)))["full"]["linear"]
    assert [pair["relative"], pair["low"], pair["high"]] == pytest.approx([0.5, 0.5, 0.5])
    worse = pairs_of(ease=users(*before), ease_text=users(*(0.9 * before)))["full"]["linear"]
    assert [worse["relative"], worse["low"], worse["high"]] == pytest.approx([-0.1, -0.1, -0.1])
    assert worse["effect_size"] < 0 < pair["effect_size"]


def test_the_correction_is_over_the_families_of_a_protocol():
    """Of twelve equal differences 2 of 4,096 patterns of signs reach the sum; the smaller of two p counts twice."""
    same, more = users(*[0.2] * 12), users(*[0.3] * 12)
    pairs = pairs_of(multvae=same, ease_text=same, hybridvae=more, ease=same)
    assert list(pairs["full"]) == ["linear", "autoencoder"], "in the order of the families"
    linear, autoencoder = pairs["full"].values()
    assert linear["p"] == linear["p_holm"] == 1.0
    assert autoencoder["p"] < 0.01 and autoencoder["p_holm"] == pytest.approx(2 * autoencoder["p"])
    alone = pairs_of(multvae=same, hybridvae=more)["full"]["autoencoder"]
    assert alone == autoencoder | {"p_holm": autoencoder["p"]}, "what is drawn for a family depends on no other"


def test_a_family_without_one_of_its_models_is_left_out():
    frame = users(0.1, 0.2)
    assert list(pairs_of(ease_text=frame, lightgcn=frame, alpharec=frame, popularity=frame)["full"]) == ["graph"]
    assert pairs_of(ease=frame, lightgcn=frame, hybridvae=frame) == {}


def test_nothing_without_text_has_no_ratio():
    pair = pairs_of(sasrec=users(0.0, 0.0), sasrec_text=users(0.4, 0.2))["full"]["sequential"]
    assert pair["difference"] == pytest.approx(0.3)
    assert (pair["relative"], pair["low"], pair["high"]) == (None, None, None) and gain_of(pair) == "-"
    # The first user has nothing without text, so of a quarter of the resamples the gain is beyond any number.
    half = pairs_of(sasrec=users(0.0, 0.4), sasrec_text=users(0.2, 0.4))["full"]["sequential"]
    assert half["relative"] == pytest.approx(0.5) and half["low"] == 0.0 and half["high"] is None
    assert gain_of(half) == "+50.0% (+0.0% to no bound)"
    # And where both have nothing there is no gain: of the other resamples it is 1.
    none = pairs_of(sasrec=users(0.0, 0.2), sasrec_text=users(0.0, 0.4))["full"]["sequential"]
    assert (none["low"], none["high"]) == pytest.approx((0.0, 1.0))


def test_the_table_of_pairs():
    pairs = pairs_of(multvae=users(0.1, 0.3, targets=[3, 1]), hybridvae=users(0.2, 0.3, targets=[3, 1]))
    head, _, row = pairs_table(pairs, {"negatives": {"min": 12, "max": 30}}).splitlines()
    by_full = "NDCG@10, full | gain, full (95 % interval) | p, full"
    among = "NDCG@10, among 12 to 30 | gain, among 12 to 30 (95 % interval) | p, among 12 to 30"
    assert head == f"| family | without text | with text | {by_full} | {among} |"
    assert row == (
        "| autoencoder | Mult-VAE | HybridVAE | 0.2000 → 0.2500 | +25.0% (+0.0% to +100.0%) | 1.0000 "
        "| 0.1500 → 0.2250 | +50.0% (+0.0% to +100.0%) | 1.0000 |"
    )


def test_models_with_text_are_those_of_the_families_and_content():
    assert {model for family in FAMILIES for model in (family.without, family.with_text) if reads_text(model)} == {
        "ease_text",
        "sasrec_text",
        "alpharec",
        "hybridvae",
    }
    assert reads_text("content") and not reads_text("ials")
