"""Several models side by side: tests on per-user results, and tables of their metrics."""

from typing import Any

import numpy as np
import pandas as pd

from hybridvae.evaluation.families import FAMILIES
from hybridvae.evaluation.intervals import EvaluationConfig, user_weights
from hybridvae.evaluation.significance import Floats, effect_size, gain_interval, holm, sign_flip_p
from hybridvae.seeds import random_generator

TABLE_COLUMNS = (
    "sampled/ndcg@10",
    "sampled/hit@10",
    "sampled/mrr",
    "full/ndcg@10",
    "full/recall@10",
    "full/recall@20",
    "full/mrr",
)


Pairs = dict[str, dict[str, dict[str, Any]]]


def compare(
    per_user: dict[str, pd.DataFrame], *, reference: str, config: EvaluationConfig, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Test the model `reference` against each other one on NDCG@10, by every protocol at hand.

    Args:
        per_user: of each model, one row a user (see `Judgement.per_user`), the users being the same.

    Returns:
        protocol -> model -> difference of the means, relative difference (None where the model has a mean of 0),
        effect size d, p and p_holm; the correction is over the models of a protocol.
    """
    base = per_user[reference]
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for protocol, name in _judged_by(base):
        weights, after = user_weights(base, name), _values(base, name)
        tests: dict[str, dict[str, Any]] = {}
        for model, frame in per_user.items():
            if model == reference:
                continue
            random = random_generator(seed, "permutation", protocol, model)
            tests[model] = _paired(_values(frame, name), after, weights, config, random)
        _correct(tests)
        results[protocol] = tests
    return results


def compare_pairs(per_user: dict[str, pd.DataFrame], *, config: EvaluationConfig, seed: int) -> Pairs:
    """Test what the text of items adds: in each family the model with it against the one without, on NDCG@10.

    Args:
        per_user: as in `compare`; a family of which a model is missing is left out.

    Returns:
        protocol -> family -> "without" and "with_text", each {model, mean}; difference of the means; the gain
        `relative` (0.1: a tenth more than without) with its 95 % bootstrap interval `low` to `high`; effect size d, p
        and p_holm, corrected over the families of the protocol. The gain is None, and its interval too, where the
        model without text has a mean of 0; a bound is None where resamples in which it has one decide it. Without a
        whole family the result is empty.
    """
    whole = [family for family in FAMILIES if {family.without, family.with_text} <= per_user.keys()]
    results: Pairs = {}
    for protocol, name in _judged_by(per_user[whole[0].without]) if whole else []:
        tests: dict[str, dict[str, Any]] = {}
        for family in whole:
            frame = per_user[family.without]
            before, after = _values(frame, name), _values(per_user[family.with_text], name)
            weights = user_weights(frame, name)
            level, names = _mean(before, weights), ("pairs", protocol, family.name)
            test: dict[str, Any] = {
                "without": {"model": family.without, "mean": level},
                "with_text": {"model": family.with_text, "mean": _mean(after, weights)},
                **_paired(before, after, weights, config, random_generator(seed, "permutation", *names)),
            }
            low, high = gain_interval(
                before,
                after,
                weights,
                resamples=config.bootstrap_resamples,
                random=random_generator(seed, "bootstrap", *names),
            )
            test |= {"low": low, "high": high} if level else {"low": None, "high": None}
            tests[family.name] = test
        _correct(tests)
        results[protocol] = tests
    return results


def _judged_by(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Protocol and column of every NDCG@10 in a frame of per-user results."""
    return [(name.partition("/")[0], name) for name in frame.columns if name.endswith("/ndcg@10")]


def _values(frame: pd.DataFrame, name: str) -> Floats:
    return frame[name].to_numpy(dtype=np.float64)


def _mean(values: Floats, weights: Floats) -> float:
    return float((weights * values).sum() / weights.sum())


def _paired(
    before: Floats, after: Floats, weights: Floats, config: EvaluationConfig, random: np.random.Generator
) -> dict[str, float | None]:
    """One paired test of per-user values, each (U,): how far `after` is above `before`, and how sure that is.

    "relative" is None where `before` is 0 everywhere.
    """
    difference = after - before
    mean, level = _mean(difference, weights), _mean(before, weights)
    return {
        "difference": mean,
        "relative": mean / level if level else None,
        "effect_size": effect_size(difference, weights),
        "p": sign_flip_p(weights * difference, permutations=config.permutations, random=random),
    }


def _correct(tests: dict[str, dict[str, Any]]) -> None:
    """Add Holm's `p_holm` to tests that are one family of hypotheses."""
    for test, corrected in zip(tests.values(), holm([test["p"] for test in tests.values()]), strict=True):
        test["p_holm"] = corrected


def metrics_table(metrics: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Means of TABLE_COLUMNS, one row a model, best full-ranking NDCG@10 first.

    Args:
        metrics: of each model, what `metrics/<part>/<model>.json` holds.
    """
    columns = [*TABLE_COLUMNS]
    if all("cold" in of_model for of_model in metrics.values()):
        columns.append("cold/ndcg@10")
    rows = {}
    for model, of_model in metrics.items():
        row = {}
        for column in columns:
            protocol, _, metric = column.partition("/")
            row[column] = of_model[protocol][metric]["mean"]
        rows[model] = row | {"coverage@10": of_model["full"]["coverage@10"]}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    return table.sort_values(["full/ndcg@10", "sampled/ndcg@10"], ascending=False, kind="stable")
