"""What carries HybridVAE: the default with one thing changed at a time, judged on the validation part.

    python benchmarks/ablation.py musical_instruments --seeds 5
    python benchmarks/ablation.py beauty --seeds 1 --epochs 20    # a large one, every fit cut short alike

The variants stand in `ablation` of params.yaml. The outcome goes to docs/benchmarks/<dataset>-ablation.json, which
`make docs` renders. Runs go as in benchmark.py: by DVC, of the commit, and on from where a run was stopped.
"""

import argparse
import sys
from pathlib import Path

from runs import ROOT, Block, Run, Workspaces, command_typed, parse

from hybridvae.config import parse_config
from hybridvae.data.embedding import EmbedConfig
from hybridvae.data.item_text import TextConfig, gather_item_texts
from hybridvae.errors import HybridVAEError
from hybridvae.files import read_json, read_yaml, write_json
from hybridvae.models import Context, create

MODEL = "hybridvae"


def main() -> None:
    """Run the variants on one data set."""
    parser = argparse.ArgumentParser(description="HybridVAE with one thing changed at a time, on validation.")
    parser.add_argument("--epochs", type=int, help=f"at most, in every variant (default: {MODEL}.epochs)")
    arguments = parse(parser, "ablation")
    try:
        ablate(arguments.dataset, arguments.seeds, arguments.jobs, epochs=arguments.epochs)
    except HybridVAEError as error:
        sys.exit(f"ablation: {error}")


def ablate(dataset: str, n_seeds: int, jobs: int, *, epochs: int | None = None) -> None:
    """Run every variant that applies to the data set with every seed, and write the results.

    Args:
        epochs: at most, in every variant, in place of hybridvae.epochs.
    """
    params = read_yaml(ROOT / "params.yaml")
    if dataset not in params["sources"]:
        raise HybridVAEError(f"sources.{dataset} is not declared in params.yaml: declare it, or take one that is.")
    if epochs is not None:
        params[MODEL]["epochs"] = epochs
    blocks = {name: changed(params, changes) for name, changes in params["ablation"].items()}
    for name, changes in blocks.items():
        create(MODEL, changes[MODEL], Context())  # a mistake in a variant shows before the first run
        parse_config(TextConfig, changes["text"], where=f"ablation.{name}.text")
        parse_config(EmbedConfig, changes["embed"], where=f"ablation.{name}.embed")
    workspaces = Workspaces(dataset, "temporal", jobs)
    reasons = {
        name: twin(name, blocks) or inapplicable(workspaces, changes["text"], params["text"])
        for name, changes in blocks.items()
    }
    seeds = [params["seed"] + number for number in range(n_seeds)]
    runs = {
        Run.of(MODEL, changes[MODEL], seed, {"embed": changes["embed"], "text": changes["text"]}): (name, seed)
        for name, changes in blocks.items()
        if reasons[name] is None
        for seed in seeds
    }

    def collect(folder: Path, run: Run) -> dict[str, float]:
        metrics = read_json(folder / "metrics" / "validation" / f"{MODEL}.json")
        return {protocol: metrics[protocol]["ndcg@10"]["mean"] for protocol in ("full", "sampled")}

    found = {
        runs[run]: figures
        for run, figures in workspaces.each(f"{dataset}, ablation", list(runs), ("embed", "validate"), collect)
    }
    if missing := sorted({name for name, _ in set(runs.values()) - set(found)}):
        raise HybridVAEError(f"runs of {', '.join(missing)} failed (see above): mend them and run this command again.")
    report = {
        "dataset": dataset,
        "command": command_typed("ablation"),
        "commit": workspaces.commit,
        "epochs": params[MODEL]["epochs"],
        "seeds": seeds,
        "variants": {
            name: {
                "changes": params["ablation"][name],
                "inapplicable": reasons[name],
                "per_seed": [{"seed": seed} | found[name, seed] for seed in seeds if (name, seed) in found],
            }
            for name in blocks
        },
    }
    path = ROOT / "docs" / "benchmarks" / f"{dataset}-ablation.json"
    write_json(path, report)
    print(f"ablation: wrote {path.relative_to(ROOT)}")


def changed(params: Block, changes: Block) -> Block:
    """The blocks that a variant may change, whole."""
    if unknown := set(changes) - {MODEL, "embed", "text"}:
        raise HybridVAEError(f"ablation changes {', '.join(sorted(unknown))}: it can change {MODEL}, embed and text.")
    return {name: params[name] | changes.get(name, {}) for name in (MODEL, "embed", "text")}


def twin(name: str, blocks: dict[str, Block]) -> str | None:
    """Why a variant that is another one's double, say since it became the default, is not run; None if it is not."""
    first = next(other for other, changes in blocks.items() if changes == blocks[name])
    return None if first == name else f"the same as {first}"


def inapplicable(workspaces: Workspaces, text: Block, default: Block) -> str | None:
    """Why a variant's text says nothing on these data, or None if it does."""
    if text == default:
        return None
    texts, usual = (
        gather_item_texts(workspaces.clean, workspaces.split / "fit", parse_config(TextConfig, block, where="text"))
        for block in (text, default)
    )
    if not any(texts):
        return "no item has such text"
    return "the same text as the default" if texts == usual else None


if __name__ == "__main__":
    main()
