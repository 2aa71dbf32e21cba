"""Every model at its best on one data set: tuned on validation, then judged on the test part with several seeds.

    python benchmarks/benchmark.py beauty --seeds 5

Each run is an experiment of DVC's: `validate`, and for the test part `train` and `evaluate`, of what is committed.
What was run before, by this command or by `make tune`, is not run again, so a benchmark that was stopped goes on where
it was. The outcome goes to docs/benchmarks/<dataset>.json, which `make docs` renders. What was tried before on the same
data, prepared in the same way, by docs/benchmarks/tuning/<dataset>.json, counts too, unless the code of the model that
is tuned has changed: move that file away to begin anew. Other splits than the temporal one are judged with the
configurations that the temporal one chose. `--defaults` tunes nothing and judges the configurations of params.yaml.
"""

import argparse
import io
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from command import REPOSITORY, RESULTS, ROOT, check_named, command_typed, parse
from defaults import overrides
from tried import PREPARED_BY, code_of, tried_before, with_earlier

from hybridvae.arrays import IntArray
from hybridvae.config import Block, parse_config
from hybridvae.data.interactions import read_interactions, read_targets
from hybridvae.data.sources import declared
from hybridvae.data.splitting import SplitConfig
from hybridvae.errors import BadParameterError, HybridVAEError, UnreadableFileError
from hybridvae.evaluation.comparison import compare, compare_pairs
from hybridvae.evaluation.intervals import EvaluationConfig, summarise, user_weights
from hybridvae.evaluation.judge import Judgement
from hybridvae.evaluation.slices import slices
from hybridvae.experiments.queue import stoppable
from hybridvae.experiments.search import Outcome, Search, Trial
from hybridvae.experiments.tuning import Limits, grid_names, trials_of
from hybridvae.experiments.workspace import workspace
from hybridvae.files import read_json, write_json
from hybridvae.models import Context, create
from hybridvae.refusal import KEY

REFERENCE = "hybridvae"
STAGES = ("validate", "train", "evaluate")


def main() -> None:
    """Benchmark the models of params.yaml on one data set."""
    parser = argparse.ArgumentParser(description="Tune every model, judge it on the test part, write the results.")
    parser.add_argument("--split", default="temporal", help="split.strategy (default: %(default)s)")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--only-tune", action="store_true", help="stop before the test part is looked at")
    part.add_argument("--tuned", action="store_true", help="tune nothing: take what was tried from the tuning file")
    part.add_argument("--defaults", action="store_true", help="tune nothing: take the configurations of params.yaml")
    parser.add_argument("--tune", nargs="+", metavar="MODEL", help="tune these alone")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="judge these alone, on another split")
    arguments = parse(parser, "benchmark")
    if arguments.only and arguments.split == "temporal":
        sys.exit("benchmark: --only goes with --split alone: the table of the temporal split is of all models.")
    if arguments.tune and (arguments.tuned or arguments.defaults or arguments.split != "temporal"):
        sys.exit("benchmark: --tune goes neither with --tuned, nor --defaults, nor a split but the temporal one.")
    try:
        with stoppable():
            benchmark(arguments)
    except HybridVAEError as error:
        sys.exit(f"benchmark: {error}")


def benchmark(arguments: argparse.Namespace) -> None:
    """Tune (on the temporal split), run the seeds, write the results."""
    dataset, strategy = arguments.dataset, arguments.split
    params, raw_sha256 = params_of(arguments), declared(REPOSITORY.catalogue, dataset).sha256
    tuned, tuning = RESULTS / f"{dataset}.json", RESULTS / "tuning" / f"{dataset}.json"
    if (wanted := read_first(arguments, tuned, tuning)) and not wanted.exists():
        raise UnreadableFileError(
            f"{wanted} does not exist: run the benchmark of the temporal split, with tuning, first."
        )
    choosing = strategy == "temporal" and not arguments.defaults
    data = {"raw_sha256": raw_sha256, "prepared": {block: params[block] for block in PREPARED_BY}}
    anew = [] if arguments.tuned else arguments.tune or params["models"]
    tried = tried_before(tuning, data, params["grid"]["search"], anew=anew) if choosing else {}
    looking_back = not arguments.defaults and (arguments.tuned or strategy != "temporal")
    refused = refused_before(tuned) if looking_back else {}
    params["models"] = [model for model in params["models"] if model not in refused]
    with workspace(REPOSITORY, dataset, strategy) as clone:
        search = Search(REPOSITORY, clone, jobs=arguments.jobs)
        if choosing:
            if not arguments.tuned:
                found, refused = tune(search, anew, dataset)
                params["models"] = [model for model in params["models"] if model not in refused]
                tried |= {model: with_earlier(entries, tried.get(model, [])) for model, entries in found.items()}
            write_json(tuning, {"dataset": dataset, **data, "models": tried})
            if arguments.only_tune:
                return
            if missing := [model for model in params["models"] if not tried.get(model)]:
                raise HybridVAEError(f"nothing was tried of {', '.join(missing)}: run with --tune {' '.join(missing)}.")
            chosen = {model: max(tried[model], key=lambda entry: entry["ndcg@10"]) for model in params["models"]}
            blocks = {model: (params[model] or {}) | entry["parameters"] for model, entry in chosen.items()}
            counts = {model: len(tried[model]) for model in params["models"]}
        else:
            defaults = {model: params[model] or {} for model in params["models"]}
            blocks = defaults if arguments.defaults else chosen_before(tuned, params)
            counts = dict.fromkeys(params["models"], 0)

        seeds = [params["seed"] + number for number in range(arguments.seeds)]
        trials = [
            Trial.of(model, {model: block}, seed, STAGES)
            for model, block in blocks.items()
            for seed in (seeds if create(model, block, Context()).seeded else seeds[:1])
        ]
        outcomes = search.run(trials, label=f"{dataset}, test")
        if missing := list(dict.fromkeys(outcome.trial.model for outcome in outcomes if outcome.revision is None)):
            raise HybridVAEError(
                f"runs of {', '.join(missing)} failed (see above): mend them and run this command again."
            )
        split = clone.root / "data" / "split" / dataset
        items = read_targets(split / "test").items
        results: dict[str, dict[int, Block]] = defaultdict(dict)
        for outcome in outcomes:
            judged = {"judgement": judgement_of(outcome, dataset, items), "seconds": outcome.seconds.get("train")}
            results[outcome.trial.model][outcome.trial.changes["seed"]] = judged
        name = dataset if strategy == "temporal" else f"{dataset}-{strategy}"
        report = {
            "dataset": dataset,
            "command": command_typed("benchmark"),
            "commit": clone.copied_head(),
            "raw_sha256": raw_sha256,
            "split": strategy,
            "defaults": arguments.defaults,
            "ties": params["split"]["ties"],
            "seeds": seeds,
            "threads": search.threads,
            "refused": refused,
            **summaries(params, blocks, counts, results, split / "fit"),
        }
        write_json(RESULTS / f"{name}.json", report)
        print(f"benchmark: wrote {(RESULTS / name).relative_to(ROOT)}.json")


def params_of(arguments: argparse.Namespace) -> Block:
    """Those of params.yaml, with the split and the models that are asked for.

    Raises:
        BadParameterError: there is no such split, or no such model.
    """
    params = REPOSITORY.params
    params["split"] |= {"strategy": arguments.split}
    parse_config(SplitConfig, params["split"], where="split")
    for option, named in (("--tune", arguments.tune), ("--only", arguments.only)):
        check_named(option, named or [], params["models"], f"`models` has {', '.join(params['models'])}")
    params["models"] = [model for model in params["models"] if model in (arguments.only or params["models"])]
    return params


def read_first(arguments: argparse.Namespace, tuned: Path, tuning: Path) -> Path | None:
    """The file of an earlier benchmark that this one goes on from: its results, or what it tried; None for neither."""
    if arguments.defaults:
        return None
    if arguments.split != "temporal":
        return tuned
    return tuning if arguments.tuned or (arguments.tune and not arguments.only_tune) else None


def refused_before(results: Path) -> dict[str, str]:
    """The models that did not fit into the memory when the results of the temporal split were made."""
    found: dict[str, str] = read_json(results).get(KEY, {}) if results.exists() else {}
    return found


def chosen_before(results: Path, params: Block) -> dict[str, Block]:
    """Of each model the whole block of parameters that the temporal split chose.

    Raises:
        HybridVAEError: the results of that split are those of the defaults, or lack a model, or a parameter that is
            newer than they are.
    """
    report = read_json(results)
    if report.get("defaults"):
        raise BadParameterError(f"{results} is of the defaults, so nothing was chosen there: give --defaults here too.")
    known = report["models"]
    if missing := [model for model in params["models"] if model not in known]:
        raise HybridVAEError(f"{results} has no {', '.join(missing)}: run the benchmark of the temporal split first.")
    blocks: dict[str, Block] = {model: known[model]["parameters"] for model in params["models"]}
    for model, block in blocks.items():
        if newer := set(params[model] or {}) - set(block):
            raise UnreadableFileError(
                f"{results} says nothing of {', '.join(sorted(newer))} of {model}, which is newer than it: "
                "run the benchmark of the temporal split again."
            )
    return blocks


def judgement_of(outcome: Outcome, dataset: str, items: IntArray) -> Judgement:
    """What `evaluate` wrote of a trial; the items of the targets are the data set's to tell.

    Args:
        items: (T,) of the targets, in the order of data/split.
    """
    model, revision = outcome.trial.model, outcome.revision
    assert revision is not None  # asked of what was run
    users, targets = (
        pd.read_parquet(io.BytesIO(REPOSITORY.read_output(f"data/evaluate/{dataset}/{model}/{kind}.parquet", revision)))
        for kind in ("users", "targets")
    )
    coverage = REPOSITORY.yaml(f"metrics/test/{model}.json", revision)["full"]["coverage@10"]
    return Judgement(users.drop(columns="user_id"), targets.assign(item_index=items), coverage)


def tune(search: Search, models: list[str], dataset: str) -> tuple[dict[str, list[Block]], dict[str, str]]:
    """Of each model the configurations tried: grid values, full-ranking validation NDCG@10, what it chose, seconds.

    Returns:
        These, and the models that do not fit into the memory with the sentences that say so.
    """
    params = search.params
    with_grid = [model for model in models if model in params["grid"]["search"]]
    trials = [trial for model in with_grid for trial in trials_of(params, model, "search", Limits())[0]]
    trials += [Trial(model, {}) for model in models if model not in with_grid]
    outcomes = search.run(trials, label=f"{dataset}, tuning", minutes=params["grid"]["budget"]["minutes"])
    tried: dict[str, list[Block]] = {model: [] for model in models}
    refused: dict[str, str] = {}
    for outcome in outcomes:
        model, block = outcome.trial.model, outcome.trial.block(params)
        if outcome.revision is not None and search.figure(outcome) is None:
            said = REPOSITORY.read_output(f"data/validate/{dataset}/{model}/refused.json", outcome.revision)
            refused[model] = json.loads(said)[KEY]
        elif outcome.revision is not None:
            fit = json.loads(REPOSITORY.read_output(f"data/validate/{dataset}/{model}/fit.json", outcome.revision))
            tried[model].append(
                {
                    "code": code_of(model),
                    "parameters": {name: block[name] for name in grid_names(params, "search", model)},
                    "ndcg@10": search.figure(outcome),
                    "chosen": fit["chosen"],
                    "seconds": outcome.seconds.get("validate", 0.0),
                }
            )
    return tried, {model: sentence for model, sentence in refused.items() if not tried[model]}


def summaries(
    params: Block, blocks: dict[str, Block], counts: dict[str, int], results: dict[str, dict[int, Block]], fit: Path
) -> dict[str, Block]:
    """What the results file says of pairs and of each model: figures averaged over seeds, with intervals over users.

    Returns:
        "pairs", as `compare_pairs` returns them, and "models", model -> its figures.
    """
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
    return {"pairs": compare_pairs(per_user, config=config, seed=seed), "models": found}


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
    whole = dict.fromkeys(("user_index", "item_index", "targets", "negatives"), np.int64)
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
