"""Several models side by side: tests on per-user results, and tables of their metrics."""

from typing import Any

import numpy as np
import pandas as pd

from hybridvae.evaluation.intervals import EvaluationConfig, user_weights
from hybridvae.evaluation.significance import effect_size, holm, sign_flip_p
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


def compare(
    per_user: dict[str, pd.DataFrame], *, reference: str, config: EvaluationConfig, seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Test the model `reference` against each other one on NDCG@10, by every protocol at hand.

    Args:
        per_user: of each model, one row a user (see `Judgement.per_user`), the users being the same.

    Returns:
        protocol -> model -> difference of the means, relative difference, effect size d, p and p_holm;
        the correction is over the models of a protocol.
    """
    base = per_user[reference]
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in (column for column in base.columns if column.endswith("/ndcg@10")):
        protocol = name.partition("/")[0]
        weights = user_weights(base, name)
        tests: dict[str, dict[str, float]] = {}
        for model, frame in per_user.items():
            if model == reference:
                continue
            other = frame[name].to_numpy(dtype=np.float64)
            difference = base[name].to_numpy(dtype=np.float64) - other
            mean = float((weights * difference).sum() / weights.sum())
            level = float((weights * other).sum() / weights.sum())
            random = random_generator(seed, "permutation", protocol, model)
            tests[model] = {
                "difference": mean,
                "relative": mean / level if level else 0.0,
                "effect_size": effect_size(difference, weights),
                "p": sign_flip_p(weights * difference, permutations=config.permutations, random=random),
            }
        for test, corrected in zip(tests.values(), holm([test["p"] for test in tests.values()]), strict=True):
            test["p_holm"] = corrected
        results[protocol] = tests
    return results


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
