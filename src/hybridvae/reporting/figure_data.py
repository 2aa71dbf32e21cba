"""From metrics, benchmark and ablation files to the data frames that the figures take."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hybridvae.evaluation.families import reads_text
from hybridvae.evaluation.protocols import ABLATED, READING_ORDER, titles
from hybridvae.reporting.model_titles import title_of

_METRIC = "ndcg@10"


def comparison_frame(models: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """NDCG@10 of every model by every protocol: columns model, text, protocol, panel (its title), mean, low, high.

    `text` is whether the model reads the text of items.

    Args:
        models: model -> what `metrics/test/<model>.json` or a benchmark holds of it.
    """
    return pd.DataFrame(
        [
            {"model": title_of(model), "text": reads_text(model), "protocol": protocol}
            | {"panel": titles(protocol, figures).panel}
            | _interval(figures[protocol][_METRIC])
            for protocol in READING_ORDER
            for model, figures in models.items()
            if protocol in figures
        ]
    )


def pairs_frame(pairs: Mapping[str, Mapping[str, Any]], judged: Mapping[str, Any]) -> pd.DataFrame:
    """What text adds: columns family, without, with_text, protocol, panel, before, after, gain, low, high.

    `without` and `with_text` are titles of models, `before` and `after` are their NDCG@10, `gain` is the ratio of these
    less 1, between low and high; what is not known is NaN.

    Args:
        pairs: as `compare_pairs` returns them.
        judged: what `titles` takes: the results of any of the models.
    """
    frame = pd.DataFrame(
        [
            {"family": family, "protocol": protocol, "panel": titles(protocol, judged).panel}
            | {name: title_of(pair[name]["model"]) for name in ("without", "with_text")}
            | {"before": pair["without"]["mean"], "after": pair["with_text"]["mean"]}
            | {"gain": pair["relative"], "low": pair["low"], "high": pair["high"]}
            for protocol in READING_ORDER
            for family, pair in pairs.get(protocol, {}).items()
        ]
    )
    return frame.astype({"gain": float, "low": float, "high": float})


def slices_frame(models: Mapping[str, Mapping[str, Any]], *, protocol: str = "full") -> pd.DataFrame:
    """NDCG@10 by slices: columns model, slicing (history or popularity), slice, size, mean, low, high.

    Args:
        models: as in `comparison_frame`; models without slices are left out.
    """
    return pd.DataFrame(
        [
            {"model": title_of(model), "slicing": slicing, "slice": name, **_interval(one[protocol])}
            | {"size": one["users" if slicing == "history" else "targets"]}
            for model, figures in models.items()
            for slicing, parts in figures.get("slices", {}).items()
            for name, one in parts.items()
            if protocol in one
        ]
    )


def cost_frame(models: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float | None]) -> pd.DataFrame:
    """Quality against cost: columns model, seconds, mean, low, high (full-ranking NDCG@10).

    Args:
        seconds: of the final fit; a model whose time nobody took is left out.
    """
    return pd.DataFrame(
        [
            {"model": title_of(model), "seconds": taken, **_interval(figures["full"][_METRIC])}
            for model, figures in models.items()
            if (taken := seconds.get(model)) is not None
        ],
        columns=["model", "seconds", "mean", "low", "high"],
    )


def ablation_frame(report: Mapping[str, Any]) -> pd.DataFrame:
    """Change of NDCG@10 against the default, seed by seed: columns variant, protocol, panel (its title), seed, change.

    Args:
        report: an ablation file, whose first variant is the default; variants that do not apply are left out.
    """
    variants = report["variants"]
    usual, *_ = variants.values()
    base = {one["seed"]: one for one in usual["per_seed"]}
    return pd.DataFrame(
        [
            {"variant": name, "protocol": protocol, "panel": titles(protocol, report).panel, "seed": one["seed"]}
            | {"change": one[protocol] / base[one["seed"]][protocol] - 1}
            for name, variant in variants.items()
            if variant is not usual and not variant["inapplicable"]
            for one in variant["per_seed"]
            if one["seed"] in base
            for protocol in ABLATED
        ],
        columns=["variant", "protocol", "panel", "seed", "change"],
    )


def tuning_frame(tried: list[dict[str, Any]]) -> pd.DataFrame:
    """The configurations of one model that a benchmark tried, the best first, as `figures.tuning` takes them."""
    rows = [{"experiment": "", **one["parameters"], _METRIC: one[_METRIC]} for one in tried]
    table = pd.DataFrame(rows).sort_values(_METRIC, ascending=False, kind="stable", ignore_index=True)
    return table[[name for name in table if name != _METRIC] + [_METRIC]]


def _interval(figure: Mapping[str, float]) -> dict[str, float]:
    return {key: figure[key] for key in ("mean", "low", "high")}
