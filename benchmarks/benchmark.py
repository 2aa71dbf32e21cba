"""Every model at its best on one data set: tuned on validation, then judged on the test part with several seeds.

    python benchmarks/benchmark.py beauty --seeds 5

Each run is DVC's own `validate`, `train` and `evaluate` of the commit, so what was computed before comes back from
the run cache, and a benchmark that was stopped goes on where it was. The outcome goes to
docs/benchmarks/<dataset>.json, which `make docs` renders. What was tried before on the same data, by
docs/benchmarks/tuning/<dataset>.json, counts too: move that file away to begin anew. Other splits than the temporal
one are judged with the configurations that the temporal one chose.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from defaults import overrides
from runs import ROOT, Block, Run, Workspaces, command_typed, parse, seconds_of

from hybridvae.config import parse_config
from hybridvae.data.interactions import read_interactions, read_targets
from hybridvae.data.splitting import SplitConfig
from hybridvae.errors import HybridVAEError
from hybridvae.evaluation.comparison import compare
from hybridvae.evaluation.intervals import EvaluationConfig, summarise, user_weights
from hybridvae.evaluation.judge import Judgement
from hybridvae.evaluation.slices import slices
from hybridvae.experiments.grid import Grid, configurations, points
from hybridvae.files import read_json, read_yaml, write_json
from hybridvae.models import Context, create

RESULTS = ROOT / "docs" / "benchmarks"
REFERENCE = "hybridvae"


def main() -> None:
    """Benchmark the models of params.yaml on one data set."""
    parser = argparse.ArgumentParser(description="Tune every model, judge it on the test part, write the results.")
    parser.add_argument("--split", default="temporal", help="split.strategy (default: %(default)s)")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--only-tune", action="store_true", help="stop before the test part is looked at")
    part.add_argument("--tuned", action="store_true", help="tune nothing: take what was tried from the tuning file")
    parser.add_argument("--tune", nargs="+", metavar="MODEL", help="tune these alone")
    arguments = parse(parser, "benchmark")
    if arguments.tune and (arguments.tuned or arguments.split != "temporal"):
        sys.exit("benchmark: --tune goes neither with --tuned nor with another split than the temporal one.")
    try:
        benchmark(arguments)
    except HybridVAEError as error:
        sys.exit(f"benchmark: {error}")


def benchmark(arguments: argparse.Namespace) -> None:
    """Tune (on the temporal split), run the seeds, write the results."""
    dataset, strategy = arguments.dataset, arguments.split
    params = read_yaml(ROOT / "params.yaml")
    if dataset not in params["sources"]:
        raise HybridVAEError(f"sources.{dataset} is not declared in params.yaml: declare it, or take one that is.")
    parse_config(SplitConfig, params["split"] | {"strategy": strategy}, where="split")
    tuned, tuning = RESULTS / f"{dataset}.json", RESULTS / "tuning" / f"{dataset}.json"
    if unknown := set(arguments.tune or []) - set(params["models"]):
        raise HybridVAEError(f"--tune names {', '.join(sorted(unknown))}: `models` has {', '.join(params['models'])}.")
    wanted = tuned if strategy != "temporal" else tuning if arguments.tuned or arguments.tune else None
    if wanted and not wanted.exists():
        raise HybridVAEError(f"{wanted} does not exist: run the benchmark of the temporal split, with tuning, first.")
    source = params["sources"][dataset]
    raw_sha256 = source.get("sha256") or source.get("reviews_sha256")
    tried = tried_before(tuning, raw_sha256, params["grid"]["search"]) if strategy == "temporal" else {}
    workspaces = Workspaces(dataset, strategy, arguments.jobs)
    if strategy == "temporal":
        if not arguments.tuned:
            found = tune(workspaces, params | {"models": arguments.tune or params["models"]}, dataset)
            tried |= {model: with_earlier(entries, tried.get(model, [])) for model, entries in found.items()}
        write_json(tuning, {"dataset": dataset, "raw_sha256": raw_sha256, "models": tried})
        if arguments.only_tune:
            return
        if missing := [model for model in params["models"] if not tried.get(model)]:
            raise HybridVAEError(f"nothing was tried of {', '.join(missing)}: run with --tune {' '.join(missing)}.")
        chosen = {model: max(tried[model], key=lambda entry: entry["ndcg@10"]) for model in params["models"]}
        blocks = {model: (params[model] or {}) | entry["parameters"] for model, entry in chosen.items()}
        counts = {model: len(tried[model]) for model in params["models"]}
    else:
        known = read_json(tuned)["models"]
        if missing := [model for model in params["models"] if model not in known]:
            raise HybridVAEError(f"{tuned} has no {', '.join(missing)}: run the benchmark of the temporal split first.")
        blocks = {model: known[model]["parameters"] for model in params["models"]}
        counts = dict.fromkeys(params["models"], 0)

    seeds = [params["seed"] + number for number in range(arguments.seeds)]
    runs = [
        Run.of(model, block, seed)
        for model, block in blocks.items()
        for seed in (seeds if create(model, block, Context()).seeded else seeds[:1])
    ]
    results: dict[str, dict[int, Block]] = defaultdict(dict)
    items = read_targets(workspaces.split / "test").items

    def collect(folder: Path, run: Run) -> Block:
        evaluated = folder / "data" / "evaluate" / dataset / run.model
        return {
            "judgement": Judgement(
                pd.read_parquet(evaluated / "users.parquet").drop(columns="user_id"),
                pd.read_parquet(evaluated / "targets.parquet").assign(item_index=items),
                read_json(folder / "metrics" / "test" / f"{run.model}.json")["full"]["coverage@10"],
            ),
            "seconds": seconds_of("train", run, dataset, strategy, workspaces.threads),
        }

    for run, result in workspaces.each(f"{dataset}, test", runs, ("validate", "train", "evaluate"), collect):
        results[run.model][run.seed] = result
    missing = [model for model in params["models"] if len(results[model]) < sum(run.model == model for run in runs)]
    if missing:
        raise HybridVAEError(f"runs of {', '.join(missing)} failed (see above): mend them and run this command again.")
    name = dataset if strategy == "temporal" else f"{dataset}-{strategy}"
    report = {
        "dataset": dataset,
        "command": command_typed("benchmark"),
        "commit": workspaces.commit,
        "raw_sha256": raw_sha256,
        "split": strategy,
        "seeds": seeds,
        "threads": workspaces.threads,
        "models": summaries(params, blocks, counts, results, workspaces.split / "fit"),
    }
    write_json(RESULTS / f"{name}.json", report)
    print(f"benchmark: wrote {(RESULTS / name).relative_to(ROOT)}.json")


def tune(workspaces: Workspaces, params: Block, dataset: str) -> dict[str, list[Block]]:
    """Of each model the configurations tried: grid values, NDCG@10 (full ranking, validation), epochs, seconds.

    A model's minutes are those of the whole machine: a configuration that ran beside another counts half.
    """
    budget, seed = params["grid"]["budget"], params["seed"]
    spent: defaultdict[str, float] = defaultdict(float)
    runs = [
        Run.of(model, block, seed)
        for model in params["models"]
        for block in configurations(
            model,
            params[model] or {},
            params["grid"]["search"].get(model, {}),
            at_most=budget["configurations"],
            seed=seed,
        )
    ]

    def collect(folder: Path, run: Run) -> Block:
        seconds = seconds_of("validate", run, dataset, "temporal", workspaces.threads) or 0.0
        spent[run.model] += seconds / workspaces.jobs
        metrics = read_json(folder / "metrics" / "validation" / f"{run.model}.json")
        return {
            "parameters": {name: run.block[name] for name in names_of(params["grid"]["search"].get(run.model, {}))},
            "ndcg@10": metrics["full"]["ndcg@10"]["mean"],
            "epochs": read_json(folder / "data" / "validate" / dataset / run.model / "fit.json")["epochs"],
            "seconds": seconds,
        }

    found = dict(
        workspaces.each(
            f"{dataset}, tuning",
            runs,
            ("validate",),
            collect,
            wanted=lambda run: spent[run.model] < 60 * budget["minutes"],
        )
    )
    return {model: [found[run] for run in runs if run.model == model and run in found] for model in params["models"]}


def tried_before(tuning: Path, raw_sha256: str | None, grids: Mapping[str, Grid]) -> dict[str, list[Block]]:
    """Of each model what the tuning file holds, if there is one.

    Raises:
        HybridVAEError: the file is of other data, or a try in it says nothing of a parameter of today's grid, which
            would get today's default when that try is chosen.
    """
    if not tuning.exists():
        return {}
    known = read_json(tuning)
    if known["raw_sha256"] != raw_sha256:
        raise HybridVAEError(f"{tuning} is of raw data with another sha256: move it away, so that tuning begins anew.")
    tried: dict[str, list[Block]] = known["models"]
    for model, entries in tried.items():
        names = names_of(grids.get(model, {}))
        if missing := {name for name in names for entry in entries if name not in entry["parameters"]}:
            raise HybridVAEError(
                f"{tuning} has tries of {model} that say nothing of {', '.join(sorted(missing))}, "
                "which is newer in grid.search than they are: add the values they had."
            )
    return tried


def names_of(grid: Grid) -> list[str]:
    """The parameters of a grid, or of several."""
    return list(dict.fromkeys(name for point in points(grid) for name in point))


def with_earlier(tried: list[Block], earlier: list[Block]) -> list[Block]:
    """What was tried now, and then what only an earlier grid had: both count, and the best of both is chosen."""
    parameters = [entry["parameters"] for entry in tried]
    return tried + [entry for entry in earlier if entry["parameters"] not in parameters]


def summaries(
    params: Block, blocks: dict[str, Block], counts: dict[str, int], results: dict[str, dict[int, Block]], fit: Path
) -> dict[str, Block]:
    """What the results file says of each model: figures averaged over seeds, with intervals over users."""
    config = parse_config(EvaluationConfig, params["evaluation"], where="evaluation")
    seed, interactions = params["split"]["seed"], read_interactions(fit, upto="validation")
    judgements = {
        model: average([result["judgement"] for result in of_seed.values()]) for model, of_seed in results.items()
    }
    per_user = {model: judgement.per_user for model, judgement in judgements.items()}
    tests = compare(per_user, reference=REFERENCE, config=config, seed=seed) if REFERENCE in per_user else {}
    found: dict[str, Block] = {}
    for model in params["models"]:
        judgement, of_seed = judgements[model], results[model]
        seconds = [result["seconds"] for result in of_seed.values() if result["seconds"] is not None]
        test = {protocol: of_model[model] for protocol, of_model in tests.items() if model in of_model}
        found[model] = summarise(judgement, config, seed=seed) | {
            "slices": slices(judgement.per_user, judgement.per_target, interactions, config, seed=seed),
            "per_seed": [
                {"seed": one} | ndcg_of(result["judgement"].per_user) for one, result in sorted(of_seed.items())
            ],
            "p_holm": test["full"]["p_holm"] if test else None,
            "tests": test,
            "configs_tried": counts[model],
            "overrides": overrides(blocks[model], params[model]),
            "parameters": blocks[model],
            "train_seconds": float(np.mean(seconds)) if seconds else None,
            "device": device_of(model, blocks[model], params["device"]),
        }
    return found


def device_of(model: str, block: Block, device: str) -> str:
    """The device that a model was fitted on: those that are not of PyTorch know the processor alone."""
    fitted = create(model, block, Context(device=device))
    return str(getattr(fitted, "device", torch.device("cpu")).type)


def average(judgements: list[Judgement]) -> Judgement:
    """The mean of several seeds' judgements of the same targets, value by value."""
    frames = {
        kind: sum(getattr(judgement, kind).astype(np.float64) for judgement in judgements) / len(judgements)
        for kind in ("per_user", "per_target")
    }
    whole = {"user_index": np.int64, "item_index": np.int64, "targets": np.int64}
    typed = {
        kind: frame.astype({column: whole[column] for column in frame.columns if column in whole})
        for kind, frame in frames.items()
    }
    return Judgement(**typed, coverage=float(np.mean([judgement.coverage for judgement in judgements])))


def ndcg_of(per_user: pd.DataFrame) -> dict[str, float]:
    """NDCG@10 of one seed, by every protocol."""
    return {
        name.partition("/")[0]: float(np.average(per_user[name], weights=user_weights(per_user, name)))
        for name in per_user.columns
        if name.endswith("/ndcg@10")
    }


if __name__ == "__main__":
    main()
