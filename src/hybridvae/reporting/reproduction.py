"""Whether what was computed here is what was committed, as far as processors agree."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybridvae.evaluation.protocols import ProtocolName
from hybridvae.files import read_json
from hybridvae.refusal import KEY
from hybridvae.reporting.model_titles import title_of
from hybridvae.repository import Repository

MEASURED = Path("docs", "benchmarks", "processors.json")
PROTOCOLS: tuple[ProtocolName, ...] = ("full", "sampled")

Metrics = Mapping[str, Mapping[str, Any]]


def differences(these: Metrics, those: Metrics) -> dict[str, dict[str, float]]:
    """Model -> protocol -> how far NDCG@10 is apart, of the models in both; none where all of a model's figures agree.

    Args:
        these, those: model -> what `metrics/test/<model>.json` holds.
    """
    return {
        model: {
            protocol: round(abs(these[model][protocol]["ndcg@10"]["mean"] - other[protocol]["ndcg@10"]["mean"]), 6)
            for protocol in PROTOCOLS
        }
        for model, other in those.items()
        if model in these and these[model] != other and KEY not in other
    }


def against_committed(root: Path, test: Metrics) -> str:
    """In one line, whether these results are the ones of HEAD, or how far from them.

    Args:
        root: the repository; `processors.json` of docs/benchmarks says how far processors were measured to be apart.
        test: model -> what `metrics/test/<model>.json` holds now.
    """
    repository = Repository(root)
    then = {model: repository.yaml(f"metrics/test/{model}.json", "HEAD") for model in test}
    if not any(then.values()):
        return "No committed table is here to compare this one with."
    if repository.yaml("params.yaml", "HEAD") != repository.params or not all(then.values()):
        return "It is not compared with the committed table, which has other parameters."
    apart = differences(test, then)
    if not apart:
        return "It is the committed table, figure for figure."
    model, protocol, most = max(
        ((model, protocol, far) for model, of in apart.items() for protocol, far in of.items()), key=lambda one: one[2]
    )
    said = (
        f"{len(test) - len(apart)} of {len(test)} models are as in the committed table, figure for figure; the others "
        f"({', '.join(map(title_of, apart))}) differ in NDCG@10 by {most:.6f} at most ({title_of(model)}, {protocol})"
    )
    return said + _between_processors(root / MEASURED, apart)


def _between_processors(file: Path, apart: Mapping[str, Mapping[str, float]]) -> str:
    """How a sentence on models that are so far apart ends, by what was measured of processors."""
    if not file.is_file():
        return "."
    report = read_json(file)
    if new := [title_of(name) for name in apart if name not in report["judged"]]:
        return f"; how far processors are apart was not measured yet for {', '.join(new)}."
    measured = [of["models"] for of in report["processors"].values()]
    bound = max((far for models in measured for of in models.values() for far in of.values()), default=0.0)
    moved = {name for models in measured for name in models}
    beyond = [title_of(name) for name, of in apart.items() if name not in moved or max(of.values()) > bound]
    if not beyond:
        return f", within the {bound:.6f} that was measured between processors."
    return f". Between processors {', '.join(beyond)} differed less, or not at all: something else is different."
