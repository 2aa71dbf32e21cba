"""The results of one run as one HTML file: data, table, figures, configuration, versions, hashes and cost."""

import base64
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from hybridvae.config import Block
from hybridvae.costs import Cost, read_costs
from hybridvae.errors import UnreadableFileError
from hybridvae.evaluation.comparison import metrics_table
from hybridvae.evaluation.protocols import READING_ORDER, shared_protocols, titles
from hybridvae.files import read_json, write_text
from hybridvae.reporting.figure_data import ablation_frame, cost_frame
from hybridvae.reporting.markdown import PAIRS_SAID, not_fitted, paired_protocols, pairs_head, pairs_rows
from hybridvae.reporting.model_titles import title_of
from hybridvae.reporting.results import compared, refused
from hybridvae.repository import Repository

_PACKAGES = (
    "torch",
    "sentence-transformers",
    "numpy",
    "scipy",
    "pandas",
    "duckdb",
    "implicit",
    "scikit-surprise",
    "dvc",
)
_STAGES = ("fetch", "clean", "split", "embed", "validate", "train", "evaluate", "compare", "visualize", "recommend")
_BLOCKS = ("clean", "split", "text", "embed", "evaluation", "recommend")  # and those of the models
_PIXELS_A_POINT = 4 / 3  # by CSS
_OF_A_MODEL = ("validate", "train", "evaluate")
_CAPTIONS = {
    "pairs": "How far NDCG@10 with text is above that without, with 95 % bootstrap intervals over users.",
    "comparison": "NDCG@10 of every model, with text or without, with 95 % bootstrap intervals over users.",
    "slices": "The same by the length of the user's history and by the popularity of the item asked for.",
    "training_curves": "The fit that chose the number of epochs. It sees the training part alone.",
    "users": "Every dot is a user; the map keeps neighbours together and nothing else.",
    "cost": "Quality against the seconds of the final fit, on the machine that ran it.",
    "ablation": "HybridVAE with one thing changed at a time, on the validation part: dots are seeds, bars their mean.",
    "tuning": "The configurations that were tried, by NDCG@10 on the validation part.",
}


def write_report(root: Path, path: Path, *, cache: Path) -> None:
    """Write the report of what `dvc repro` made last, atomically; it needs nothing beside itself to be read.

    Args:
        root: the repository.
        cache: the folder in which stages note what they cost.

    Raises:
        UnreadableFileError: there is no comparison yet, or it is of another data set than params.yaml names.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    repository = Repository(root)
    params = repository.params
    test, tests, pairs = compared(root / "metrics")
    any_model = next(iter(test.values()))
    dataset = any_model["dataset"]
    if dataset != params["dataset"]:
        raise UnreadableFileError(
            f"metrics/ holds the results of {dataset} and params.yaml names {params['dataset']}: run `dvc repro` first."
        )
    facts = {name: read_json(root / "metrics" / f"{name}.json") for name in ("fetch", "clean", "split", "embed")}
    costs = _costs(cache, params)
    benchmark = f"docs/benchmarks/{dataset}.md"
    environment = Environment(
        loader=PackageLoader("hybridvae"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"count": "{:,}".format, "share": "{:.1%}".format, "figure": "{:.4f}".format}
    html = environment.get_template("report.html.j2").render(
        dataset=dataset,
        facts=facts,
        models=[
            {"name": title_of(model), "is_reference": model == "hybridvae", "test": test[model]}
            | {"tests": {protocol: of.get(model) for protocol, of in tests.items()}}
            for model in metrics_table(test).index
        ],
        protocols={
            name: titles(name, any_model).sentence for name in READING_ORDER if name in shared_protocols(test.values())
        },
        pairs_head=["family", *pairs_head(paired_protocols([pairs]), [any_model])],
        pairs_rows=pairs_rows(pairs, paired_protocols([pairs])) if pairs else [],
        pairs_said=PAIRS_SAID,
        not_fitted=not_fitted(refused(root / "metrics")),
        stars=_stars,
        figures=list(_figures(root, dataset, test, costs)),
        captions=_CAPTIONS,
        blocks={
            name: yaml.safe_dump(params[name], sort_keys=False, allow_unicode=True).strip()
            for name in (*_BLOCKS, *params["models"])
            if params[name]
        },
        seed=params["seed"],
        source=facts["fetch"]["source"],
        costs=costs,
        unmeasured=_unmeasured(costs, params["models"]),
        benchmark=benchmark if (root / benchmark).is_file() else None,
        versions=_versions(repository),
        hashes=list(_hashes(repository, dataset)),
    )
    write_text(path, html)


def _stars(p: float | None) -> str:
    """*** below .001, ** below .01, * below .05."""
    return "" if p is None else "*" * sum(p < level for level in (0.05, 0.01, 0.001))


def _figures(root: Path, dataset: str, test: Mapping[str, Any], costs: list[Block]) -> Iterator[tuple[str, str, int]]:
    """Of every figure that can be shown its kind, its SVG as a data address, and the least width for its words."""
    for kind, svg in _drawn(root, dataset, test, costs):
        yield kind, "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode(), _least_width(svg)


def _drawn(root: Path, dataset: str, test: Mapping[str, Any], costs: list[Block]) -> Iterator[tuple[str, str]]:
    """Kind and SVG of every figure."""
    from hybridvae.reporting import figures

    for kind in ("pairs", "comparison", "slices", "training_curves", "users"):
        if (file := root / "plots" / "figures" / f"{kind}.svg").is_file():
            yield kind, file.read_text(encoding="utf-8")
    seconds = {cost["model"]: cost["seconds"] for cost in costs if cost["stage"] == "train"}
    frame = cost_frame(test, seconds)
    if len(frame) > 2:
        said = f"final fits on {platform.machine()}"
        yield "cost", figures.svg(figures.cost(frame, title=f"What quality costs on {dataset}", subtitle=said))
    if (file := root / "docs" / "benchmarks" / f"{dataset}-ablation.json").is_file():
        values = ablation_frame(read_json(file))
        yield "ablation", figures.svg(figures.ablation(values, title=f"HybridVAE with one thing changed, {dataset}"))
    for file in sorted((root / "plots" / "tuning").glob(f"{dataset}-*.svg")):
        yield "tuning", file.read_text(encoding="utf-8")


def _least_width(svg: str) -> int:
    """Pixels below which a figure is not scaled down: four fifths of its size, where its words have some 12 px."""
    size = re.search(r'<svg [^>]*?width="([\d.]+)pt"', svg)
    return round(0.8 * _PIXELS_A_POINT * float(size[1])) if size else 0


def _costs(cache: Path, params: Block) -> list[Block]:
    """What each stage cost when it was last run here with these parameters, in order: stage, title, seconds, peak_mb.

    A stage whose results came from a remote or from the run cache has no entry.
    """
    here = (params["dataset"], params["split"]["strategy"], os.environ.get("OMP_NUM_THREADS"))
    found: dict[tuple[str, str | None], Cost] = {}
    for cost in read_costs(cache):
        model = cost.model
        if (cost.dataset, cost.split, cost.threads) == here and (
            model is None or (cost.parameters, cost.seed) == (params.get(model), params["seed"])
        ):
            found[cost.stage, model] = cost
    wanted = [(stage, model) for stage in _STAGES for model in (params["models"] if stage in _OF_A_MODEL else [None])]
    return [asdict(found[key]) | {"title": title_of(key[1]) if key[1] else ""} for key in wanted if key in found]


def _unmeasured(costs: list[Block], models: Sequence[str]) -> list[str]:
    """The stages whose cost is not known here, and of stages that run for each model, of how many models."""
    found: list[str] = []
    for stage in _STAGES:
        known, runs = sum(cost["stage"] == stage for cost in costs), len(models) if stage in _OF_A_MODEL else 1
        if known < runs:
            found.append(f"{stage} ({runs - known} of {runs} models)" if stage in _OF_A_MODEL else stage)
    return found


def _versions(repository: Repository) -> dict[str, str]:
    versions = {"Python": platform.python_version(), "system": f"{platform.system()}, {platform.machine()}"}
    for package in _PACKAGES:
        versions[package] = metadata.version(package)
    changed = " with uncommitted changes" if repository.git("status", "--porcelain").strip() else ""
    return {"commit": repository.git("rev-parse", "HEAD").strip()[:12] + changed} | versions


def _hashes(repository: Repository, dataset: str) -> Iterator[tuple[str, str]]:
    """Path and MD5, as in dvc.lock, of the data and the models."""
    for stage in repository.yaml("dvc.lock").get("stages", {}).values():
        for out in stage["outs"]:
            folder, _, rest = out["path"].removeprefix("data/").partition("/")
            if folder in ("raw", "split", "embed", "train") and rest.split("/")[0] == dataset:
                yield out["path"], out["md5"]
