"""Tunes a model: reads its grid from params.yaml, runs it, and writes the best values back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from hybridvae.config import Block
from hybridvae.data.sources import declared
from hybridvae.errors import BadParameterError, HybridVAEError
from hybridvae.experiments.grid import block_of, configurations, in_seeded_order, names_of, points, write_parameters
from hybridvae.experiments.queue import stoppable
from hybridvae.experiments.search import Outcome, Search, Trial
from hybridvae.files import atomic_path, write_csv
from hybridvae.repository import Repository


@dataclass(frozen=True)
class Limits:
    """What a tuning may cost.

    Attributes:
        configurations: at most; None for all of the grid.
        minutes: of the whole machine, that the fits may take together; None for no limit.
        jobs: configurations at a time.
    """

    configurations: int | None = None
    minutes: float | None = None
    jobs: int = 2

    def __post_init__(self) -> None:
        given = (self.configurations, self.minutes, self.jobs)
        if any(value is not None and value <= 0 for value in given):
            raise BadParameterError("the limits of a tuning (configurations, minutes, jobs) must be above 0.")


@stoppable()
def tune(root: Path, model: str, *, grid: str, dataset: str | None, limits: Limits) -> tuple[pd.DataFrame, Block]:
    """Run a grid of a model, and write the winner's values into params.yaml.

    A run is the stage `validate` and nothing after it, with the values of `grid.trial` for its length.

    Args:
        grid: a block of `grid` in params.yaml, "specified" or "search".
        dataset: becomes `dataset` in params.yaml once its data are there; None keeps what is there.

    Returns:
        A row a configuration, the best first: experiment, the grid's values, "ndcg@10" (full ranking, validation;
        empty where it failed or was not run) and "note"; and the winner's values. plots/tuning/ gets the table too,
        and a figure of it.

    Raises:
        BadParameterError: the model or data set is unknown or has no such grid.
        HybridVAEError: DVC refused, every run failed, or it was stopped by Ctrl-C or SIGTERM.
    """
    from hybridvae.reporting import figures

    repository = Repository(root)
    declared(repository.catalogue, dataset or repository.params["dataset"])
    _, limits = trials_of(repository.params, model, grid, limits)
    with _as_it_was_unless_done(root / "params.yaml"):
        if dataset and dataset != repository.params["dataset"]:
            write_parameters(root / "params.yaml", {"dataset": dataset})
        repository.reproduce("embed", "fingerprint")
    params = repository.params
    trials, _ = trials_of(params, model, grid, limits)
    search = Search(repository, jobs=limits.jobs)
    label = f"tune {model} on {params['dataset']}"
    outcomes = search.run(trials, label=label, minutes=limits.minutes)
    table = table_of(search, outcomes, grid_names(params, grid, model))
    folder, name = root / "plots" / "tuning", f"{params['dataset']}-{model}-{grid}"
    write_csv(folder / f"{name}.csv", table)
    if table["ndcg@10"].isna().all():
        why = "; ".join(dict.fromkeys(outcome.note for outcome in outcomes))
        raise HybridVAEError(f"no configuration of {model} came to an end: {why}")
    title = f"Tuning {model} on {params['dataset']}: NDCG@10 by full ranking, validation part"
    figures.save(figures.tuning(table, title=title), folder, name)
    tqdm.write(f"wrote {folder / name}.csv, .png and .svg")
    best = table["experiment"].iloc[0]
    chosen = next(outcome.trial for outcome in outcomes if outcome.name == best)
    winner = {key: chosen.block(params)[key] for key in grid_names(params, grid, model)}
    write_parameters(root / "params.yaml", {model: winner})
    return table, winner


@contextmanager
def _as_it_was_unless_done(path: Path) -> Iterator[None]:
    """Put a file back, byte for byte, if the block fails or is stopped."""
    before = path.read_bytes()
    try:
        yield
    except BaseException:
        if path.read_bytes() != before:
            with atomic_path(path) as partial:
                partial.write_bytes(before)
        raise


def trials_of(params: Block, model: str, grid: str, limits: Limits) -> tuple[list[Trial], Limits]:
    """The trials of a model's grid, and the limits with those of `grid.budget`.

    Raises:
        BadParameterError: the model is unknown or has no such grid, or the grid names what the model does not have.
    """
    block = block_of(params, model)
    grids = {name: block for name, block in params["grid"].items() if name not in ("budget", "trial")}
    if grid not in grids:
        raise BadParameterError(f"there is no grid.{grid} in params.yaml: there are {', '.join(grids)}.")
    if model not in grids[grid]:
        raise BadParameterError(f"grid.{grid} has no {model}: it has {', '.join(grids[grid])}.")
    names = grid_names(params, grid, model)
    if unknown := [key for key in names if key not in block]:
        raise BadParameterError(f"grid.{grid}.{model} names {', '.join(unknown)}, which {model} does not have.")
    if grid == "search":  # the block itself comes first, and the budget is the same for every model
        budget = params["grid"]["budget"]
        at_most = limits.configurations or budget["configurations"]
        limits = replace(limits, minutes=limits.minutes or budget["minutes"])
        blocks = configurations(model, block, grids[grid][model], at_most=at_most, seed=params["seed"])
    else:
        blocks = [block | point for point in points(grids[grid][model])]
        if limits.configurations and limits.configurations < len(blocks):
            blocks = in_seeded_order(model, blocks, params["seed"])[: limits.configurations]
    cut = {key: value for key, value in (params["grid"]["trial"].get(grid) or {}).items() if key in block}
    return [_trial(model, cut | {key: one[key] for key in names}) for one in blocks], limits


def grid_names(params: Block, grid: str, model: str) -> list[str]:
    """The parameters that a model's grid varies; none where it has no grid."""
    return names_of(params["grid"][grid].get(model, {}))


def table_of(search: Search, outcomes: Sequence[Outcome], names: Sequence[str]) -> pd.DataFrame:
    """A row an outcome, the best first: experiment, the values of the names, "ndcg@10" and "note"."""
    rows = []
    for outcome in outcomes:
        block = outcome.trial.block(search.params)
        values = {name: block[name] for name in names}
        rows.append({"experiment": outcome.name, **values, "ndcg@10": search.figure(outcome), "note": outcome.note})
    table = pd.DataFrame(rows, dtype=object).astype({"ndcg@10": float})
    return table.sort_values("ndcg@10", ascending=False, kind="stable", ignore_index=True)


def _trial(model: str, values: Mapping[str, object]) -> Trial:
    return Trial(model, {f"{model}.{key}": value for key, value in values.items()})
