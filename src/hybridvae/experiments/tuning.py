"""A grid, from params.yaml over DVC's queue back into params.yaml."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from hybridvae.config import Block
from hybridvae.errors import BadParameterError, HybridVAEError
from hybridvae.experiments.grid import configurations, in_seeded_order, points, with_parameters
from hybridvae.experiments.listing import VALIDATION
from hybridvae.experiments.queue import Queue
from hybridvae.files import write_csv
from hybridvae.models import Context, create
from hybridvae.repository import Repository


@dataclass(frozen=True)
class Limits:
    """What a tuning may cost.

    Attributes:
        configurations: at most; None for all of the grid.
        minutes: after which no configuration starts; None for no limit.
        jobs: configurations at a time.
    """

    configurations: int | None = None
    minutes: float | None = None
    jobs: int = 2

    def __post_init__(self) -> None:
        given = (self.configurations, self.minutes, self.jobs)
        if any(value is not None and value <= 0 for value in given):
            raise BadParameterError("the limits of a tuning (configurations, minutes, jobs) must be above 0.")


def tune(root: Path, model: str, *, grid: str, dataset: str | None, limits: Limits) -> tuple[pd.DataFrame, Block]:
    """Run a grid of a model on DVC's queue, and write the winner's values into params.yaml.

    A run is the stage `validate` and nothing after it, with the values of `grid.trial` for its length. Experiments
    are named after all that decides their outcome, so what was run before is not run again.

    Args:
        grid: a block of `grid` in params.yaml, "specified" or "search".
        dataset: becomes `dataset` in params.yaml; None keeps what is there.

    Returns:
        A row a configuration, the best first: experiment, the grid's values, "ndcg@10" (full ranking, validation;
        empty where it failed or was not run) and "note"; and the winner's values. plots/tuning/ gets the table too,
        and a figure of it.

    Raises:
        HybridVAEError: the model or data set is unknown or has no such grid, DVC refused, or every run failed.
    """
    from hybridvae.reporting import figures

    repository = Repository(root)
    trials, limits = trials_of(repository.params, model, grid, dataset, limits)
    if dataset and dataset != repository.params["dataset"]:
        with_parameters(root / "params.yaml", {"dataset": dataset})
    repository.reproduce("embed")
    params = repository.params
    inputs = _fingerprint_of_inputs(repository, model)
    cut = {key: value for key, value in (params["grid"]["trial"].get(grid) or {}).items() if key in params[model]}
    runs: dict[str, Block] = {}
    for trial in trials:
        block = params[model] | cut | trial
        create(model, block, Context())  # a wrong key or value is worth no run
        digest = hashlib.sha256(json.dumps([inputs, params["seed"], block], sort_keys=True).encode()).hexdigest()
        runs[f"tune-{model}-{digest[:10]}"] = trial

    label = f"tune {model} on {params['dataset']}"
    known = {experiment.name for experiment in repository.experiments()}
    missing = [name for name in runs if name not in known]
    tqdm.write(f"{label}: {len(runs)} configurations of grid.{grid}, {len(missing)} to run, {limits.jobs} at a time")
    failed: dict[str, str] = {}
    if missing:
        queue = Queue(repository)
        queue.submit(
            {name: [f"{model}.{key}={_value(value)}" for key, value in (cut | runs[name]).items()] for name in missing},
            f"validate@{model}",
            label=label,
        )
        failed = queue.work(
            missing,
            jobs=limits.jobs,
            threads=max(1, (os.cpu_count() or 1) // limits.jobs),
            minutes=limits.minutes,
            label=label,
            best=lambda name: _figures(repository, model, [name])[name],
        )
    table = _table(runs, _figures(repository, model, list(runs)), failed)
    folder, name = root / "plots" / "tuning", f"{params['dataset']}-{model}-{grid}"
    write_csv(folder / f"{name}.csv", table)
    if table["ndcg@10"].isna().all():
        why = "; ".join(failed.values()) or "the time was over"
        raise HybridVAEError(f"no configuration of {model} came to an end: {why}")
    title = f"Tuning {model} on {params['dataset']}: NDCG@10 by full ranking, validation part"
    figures.save(figures.tuning(table, title=title), folder, name)
    tqdm.write(f"wrote {folder / name}.csv, .png and .svg")
    winner = runs[table["experiment"].iloc[0]]
    with_parameters(root / "params.yaml", {model: winner})
    return table, winner


def trials_of(params: Block, model: str, grid: str, dataset: str | None, limits: Limits) -> tuple[list[Block], Limits]:
    """The grid's values of each configuration to look at, and the limits with those of `grid.budget`.

    Raises:
        HybridVAEError: the model or data set is unknown or has no such grid.
    """
    if model not in params["models"]:
        raise BadParameterError(
            f"there is no model {model!r}: `models` in params.yaml has {', '.join(params['models'])}."
        )
    if dataset and dataset not in params["sources"]:
        raise BadParameterError(f"sources.{dataset} is not declared in params.yaml: declare it, or take one that is.")
    grids = {name: block for name, block in params["grid"].items() if name not in ("budget", "trial")}
    if grid not in grids:
        raise BadParameterError(f"there is no grid.{grid} in params.yaml: there are {', '.join(grids)}.")
    if model not in grids[grid]:
        raise BadParameterError(f"grid.{grid} has no {model}: it has {', '.join(grids[grid])}.")
    chosen, block = grids[grid][model], params[model] or {}
    keys = list(dict.fromkeys(key for point in points(chosen) for key in point))
    if unknown := [key for key in keys if key not in block]:
        raise BadParameterError(f"grid.{grid}.{model} names {', '.join(unknown)}, which {model} does not have.")
    if grid == "search":  # the block itself comes first, and the budget is the same for every model
        budget = params["grid"]["budget"]
        at_most, minutes = limits.configurations or budget["configurations"], limits.minutes or budget["minutes"]
        blocks = configurations(model, block, chosen, at_most=at_most, seed=params["seed"])
        return [{key: one[key] for key in keys} for one in blocks], replace(limits, minutes=minutes)
    every = points(chosen)
    if limits.configurations and limits.configurations < len(every):
        every = in_seeded_order(model, every, params["seed"])[: limits.configurations]
    return [{key: (block | one)[key] for key in keys} for one in every], limits


def _fingerprint_of_inputs(repository: Repository, model: str) -> str:
    """A hash of all that `validate` of the model depends on but its own block: code, data, other parameters."""
    stage = repository.yaml("dvc.yaml")["stages"]["validate"]
    params, lock = repository.params, repository.yaml("dvc.lock")
    made = {out["path"]: out["md5"] for of in lock["stages"].values() for out in of.get("outs", [])}
    found: dict[str, Any] = {}
    for template in stage["deps"]:
        path = template.replace("${item.model}", model).replace("${dataset}", params["dataset"])
        file = repository.root / path
        found[path] = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else made[path]
    found |= {key: params[key] for key in stage["params"] if "$" not in key and key != "seed"}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _figures(repository: Repository, model: str, names: list[str]) -> dict[str, float]:
    """Name -> validation NDCG@10 of those experiments that are done."""
    return {
        experiment.name: repository.yaml(f"metrics/tuning/{model}.json", experiment.revision)[f"{model} {VALIDATION}"]
        for experiment in repository.experiments()
        if experiment.name in names
    }


def _table(runs: Mapping[str, Block], figures: Mapping[str, float], failed: Mapping[str, str]) -> pd.DataFrame:
    rows = []
    for name, values in runs.items():
        note = failed.get(name, "" if name in figures else "not run: the time was over")
        rows.append({"experiment": name, **values, "ndcg@10": figures.get(name), "note": note})
    table = pd.DataFrame(rows, dtype=object).astype({"ndcg@10": float})
    return table.sort_values("ndcg@10", ascending=False, kind="stable", ignore_index=True)


def _value(value: Any) -> str:
    """A value as DVC's --set-param reads it."""
    return value if isinstance(value, str) else json.dumps(value)
