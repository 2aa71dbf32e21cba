"""From per-user results to the figures of a metrics file."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd

from hybridvae.config import Count, Parameters, Within
from hybridvae.evaluation.judge import LIST_LENGTH, Judgement
from hybridvae.evaluation.protocols import shared_protocols
from hybridvae.evaluation.significance import Floats, bootstrap_intervals
from hybridvae.seeds import random_generator


@dataclass(frozen=True)
class EvaluationConfig(Parameters):
    """The block `evaluation` of params.yaml."""

    bootstrap_resamples: Annotated[int, Within(1, 100_000)] = 1000
    permutations: Count = 10_000


def summarise(judgement: Judgement, config: EvaluationConfig, *, seed: int) -> dict[str, Any]:
    """Means and 95 % intervals of a judgement: {"users", "targets", protocol: {metric: {mean, low, high}}}.

    "negatives" says how many a target had in the sampled protocol, {min, mean, max}; "ndcg_by_cutoff" repeats the means
    of NDCG as a list, which is the form that DVC can plot.

    The resamples are drawn from `seed` alone, so all models are judged on the same ones.
    """
    frame = judgement.per_user
    names = [name for name in frame.columns if "/" in name]
    values = frame[names].to_numpy(dtype=np.float64)
    weights = np.stack([user_weights(frame, name) for name in names], axis=1)
    random = random_generator(seed, "bootstrap")
    bounds = bootstrap_intervals(values, weights, resamples=config.bootstrap_resamples, random=random)
    summary: dict[str, Any] = {"users": len(frame), "targets": int(frame["targets"].sum())}
    if "negatives" in judgement.per_target:
        counts = judgement.per_target["negatives"]
        summary["negatives"] = {"min": int(counts.min()), "mean": float(counts.mean()), "max": int(counts.max())}
    for name, mean, low, high in zip(names, *bounds, strict=True):
        protocol, _, metric = name.partition("/")
        summary.setdefault(protocol, {})[metric] = {"mean": float(mean), "low": float(low), "high": float(high)}
    summary["full"][f"coverage@{LIST_LENGTH}"] = judgement.coverage
    cutoffs = [int(name.partition("@")[2]) for name in summary["full"] if name.startswith("ndcg@")]
    protocols = shared_protocols([summary])
    summary["ndcg_by_cutoff"] = [
        {"k": k} | {protocol: summary[protocol][f"ndcg@{k}"]["mean"] for protocol in protocols} for k in cutoffs
    ]
    return summary


def user_weights(frame: pd.DataFrame, name: str) -> Floats:
    """(U,) weights of a column's values: sampled figures are means over targets, the others over users."""
    weights = frame["targets"] if name.startswith("sampled/") else pd.Series(1.0, index=frame.index)
    return np.asarray(weights, dtype=np.float64)
