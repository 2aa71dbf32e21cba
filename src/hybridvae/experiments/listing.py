"""Experiments side by side: what was varied, what came of it, and the spread over seeds."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from hybridvae.config import Block, value_at
from hybridvae.errors import BadParameterError
from hybridvae.experiments.grid import block_of
from hybridvae.repository import Repository

VALIDATION = "validation ndcg@10"  # by which choices are made
TEST = ("test full ndcg@10", "test sampled ndcg@10")
FIGURES = [VALIDATION, *TEST]
_ASIDE = {"models", "sources", "grid", "ablation", "device"}  # blocks that make no experiment another one
_BEFORE = ("fetch", "clean", "split", "embed")
_STEPS = ("validate", "train", "evaluate")


def experiments(root: Path, model: str) -> pd.DataFrame:
    """A row an experiment that fitted the model, the best of each data set first, with the committed state among them.

    Columns: experiment; dataset and seed; the parameters whose values differ; NDCG@10 by full ranking on the validation
    part; and, where the run went on to it, by both protocols on the test part.

    Raises:
        BadParameterError: there is no model of the name, or no experiment of it.
    """
    repository = Repository(root)
    block_of(repository.params, model)  # which refuses a name that is none
    stages = cache(lambda revision: repository.yaml("dvc.lock", revision).get("stages", {}))
    fit = f"validate@{model}"
    # An experiment holds all that its baseline held: it fitted the model if it did not find the fit there.
    own = [one for one in repository.experiments() if stages(one.revision).get(fit) != stages(one.baseline).get(fit)]
    rows = [
        {"experiment": name} | row
        for name, revision in [("(committed)", "HEAD"), *((one.name, one.revision) for one in own)]
        if (row := _row(repository, model, revision, stages(revision))) is not None
    ]
    if not rows:
        raise BadParameterError(
            f"no experiment fitted {model}: `dvc exp run -S {model}.KEY=VALUE` or `make tune` does."
        )
    table = pd.DataFrame(rows)
    parameters = [column for column in table if column not in ("experiment", "dataset", "seed", *FIGURES)]
    varied = [name for name in parameters if table[name].map(repr).nunique() > 1]
    table = table[["experiment", "dataset", "seed", *varied, *(name for name in FIGURES if name in table)]]
    return table.sort_values(["dataset", VALIDATION], ascending=[True, False], kind="stable", ignore_index=True)


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n - 1) of experiments that differ in nothing but the seed; empty where none do.

    Args:
        table: as `experiments` gives it. Where the committed state is an experiment too, it counts once.
    """
    figures = [name for name in FIGURES if name in table]
    keys = [str(name) for name in table if name not in ("experiment", "seed", *figures)]
    told = table[keys].map(str)
    groups = [(told.loc[rows[0]], table.loc[rows]) for rows in told.groupby(keys, sort=False).groups.values()]
    rows: list[Block] = []
    for values, group in groups:
        one_each = group.groupby("seed", as_index=False, sort=True)[figures].first()  # of each the first there is
        if len(one_each) > 1:
            row: Block = {key: values[key] for key in keys} | {"seeds": ", ".join(map(str, one_each["seed"]))}
            for name in figures:
                known = one_each[name].dropna()
                row[name] = f"{known.mean():.4f} ± {known.std(ddof=1):.4f}" if len(known) == len(one_each) else ""
            rows.append(row)
    return pd.DataFrame(rows)


def plain(table: pd.DataFrame) -> str:
    """A table for a terminal: four digits of every figure, nothing where there is none."""
    figures = {name: lambda value: f"{value:.4f}" for name in FIGURES if name in table and table[name].dtype == float}
    return str(table.to_string(index=False, na_rep="", formatters=figures))


def validation_figure(repository: Repository, model: str, revision: str) -> float | None:
    """NDCG@10 by full ranking on the validation part, of a model's fit in a revision; None where it has none."""
    # The file holds nothing else. Its key had the model's name once.
    return next(iter(repository.yaml(f"metrics/tuning/{model}.json", revision).values()), None)


def _row(repository: Repository, model: str, revision: str, stages: Mapping[str, Any]) -> Block | None:
    """What a revision with these stages in its lock says of a model; None where its fit is of other parameters."""
    params = repository.yaml("params.yaml", revision)
    done = list(_up_to_date(stages, params, model))
    figure = validation_figure(repository, model, revision)
    if "validate" not in done or figure is None:
        return None
    blocks = {key: value for key, value in params.items() if key not in _ASIDE and key not in params["models"]}
    read = {dep["path"]: dep["md5"] for dep in stages[f"validate@{model}"]["deps"]}
    code: Block = {path: md5 for path, md5 in read.items() if path.startswith(("src/", "stages/"))}
    code |= stages[f"validate@{model}"]["params"].get("metrics/fingerprint.json", {})
    digest = hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:7]
    row = {"code": digest} | _flat(blocks) | _flat(params[model] or {}) | {VALIDATION: figure}
    # The run may have taken the figure out before it was known that it would come to the same.
    if "evaluate" in done and "full" in (test := repository.yaml(f"metrics/test/{model}.json", revision) or {}):
        row |= {column: test[column.split()[1]]["ndcg@10"]["mean"] for column in TEST}
    return row


def _up_to_date(stages: Mapping[str, Any], params: Block, model: str) -> Iterator[str]:
    """The steps of a model whose results are those of the parameters, in order, as dvc.lock has it.

    What an experiment did not run again is still there from its baseline, and is another's.
    """
    made: dict[str, str] = {}
    for name in (*_BEFORE, *(f"{step}@{model}" for step in _STEPS)):
        stage = stages.get(name)
        if stage is None:
            return
        if any(value_at(params, key) != value for key, value in stage.get("params", {}).get("params.yaml", {}).items()):
            return
        if any(made.get(dep["path"], dep["md5"]) != dep["md5"] for dep in stage.get("deps", [])):
            return
        made |= {out["path"]: out["md5"] for out in stage["outs"]}
        if "@" in name:
            yield name.partition("@")[0]


def _flat(block: Mapping[str, Any], prefix: str = "") -> Block:
    found: Block = {}
    for key, value in block.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
