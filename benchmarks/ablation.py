"""What carries HybridVAE: the default with one thing changed at a time, judged on the validation part.

    python benchmarks/ablation.py musical_instruments --seeds 5
    python benchmarks/ablation.py beauty --seeds 1 --epochs 20    # a large one, every fit cut short alike
    python benchmarks/ablation.py beauty --only "without KL" "without whitening"    # these alone, beside the default

The variants stand in `ablation` of params.yaml. The outcome goes to docs/benchmarks/<dataset>-ablation.json, which
`make docs` renders. Runs go as in benchmark.py: as DVC experiments, of the commit, and on from where a run was stopped.
"""

import argparse
import sys

from command import REPOSITORY, RESULTS, ROOT, check_named, command_typed, parse

from hybridvae.config import Block, parse_config
from hybridvae.data.embedding import EmbedConfig
from hybridvae.data.item_text import TextConfig, gather_item_texts
from hybridvae.data.sources import declared
from hybridvae.errors import BadParameterError, HybridVAEError
from hybridvae.experiments.queue import stoppable
from hybridvae.experiments.search import Search, Trial
from hybridvae.experiments.workspace import workspace
from hybridvae.files import write_json
from hybridvae.models import Context, create
from hybridvae.repository import Repository

MODEL = "hybridvae"


def main() -> None:
    """Run the variants on one data set."""
    parser = argparse.ArgumentParser(description="HybridVAE with one thing changed at a time, on validation.")
    parser.add_argument("--epochs", type=int, help=f"at most, in every variant (default: {MODEL}.epochs)")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="these beside the default (default: all)")
    arguments = parse(parser, "ablation")
    try:
        with stoppable():
            ablate(arguments.dataset, arguments.seeds, arguments.jobs, epochs=arguments.epochs, only=arguments.only)
    except HybridVAEError as error:
        sys.exit(f"ablation: {error}")


def ablate(dataset: str, n_seeds: int, jobs: int, *, epochs: int | None = None, only: list[str] | None = None) -> None:
    """Run every variant that applies to the data set with every seed, and write the results.

    Args:
        epochs: at most, in every variant, in place of hybridvae.epochs.
        only: the variants that are run beside the default; by default all.
    """
    params = REPOSITORY.params
    params["ablation"] = chosen(params["ablation"], only)
    declared(REPOSITORY.catalogue, dataset)
    if epochs is not None:
        params[MODEL]["epochs"] = epochs
    blocks = {name: whole(params, changes) for name, changes in params["ablation"].items()}
    for name, changes in blocks.items():
        create(MODEL, changes[MODEL], Context())  # a mistake in a variant shows before the first run
        parse_config(TextConfig, changes["text"], where=f"ablation.{name}.text")
        parse_config(EmbedConfig, changes["embed"], where=f"ablation.{name}.embed")
    with workspace(REPOSITORY, dataset, "temporal") as clone:
        reasons = {
            name: twin(name, blocks) or inapplicable(clone, dataset, changes["text"], params["text"])
            for name, changes in blocks.items()
        }
        seeds = [params["seed"] + number for number in range(n_seeds)]
        wanted = {
            (name, seed): Trial.of(MODEL, blocks[name], seed, ("embed", "validate"))
            for name in blocks
            if reasons[name] is None
            for seed in seeds
        }
        search = Search(REPOSITORY, clone, jobs=jobs)
        outcomes = search.run(list(wanted.values()), label=f"{dataset}, ablation")
        found: dict[tuple[str, int], dict[str, float]] = {}
        negatives: Block = {}
        for key, outcome in zip(wanted, outcomes, strict=True):
            if outcome.revision is not None:
                metrics = REPOSITORY.yaml(f"metrics/validation/{MODEL}.json", outcome.revision)
                found[key] = {protocol: metrics[protocol]["ndcg@10"]["mean"] for protocol in ("full", "sampled")}
                negatives = metrics["negatives"]  # the same in all of them
        if missing := sorted({name for name, _ in set(wanted) - set(found)}):
            raise HybridVAEError(
                f"runs of {', '.join(missing)} failed (see above): mend them and run this command again."
            )
        report = {
            "dataset": dataset,
            "command": command_typed("ablation"),
            "commit": clone.copied_head(),
            "ties": params["split"]["ties"],
            "negatives": negatives,
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
        path = RESULTS / f"{dataset}-ablation.json"
        write_json(path, report)
        print(f"ablation: wrote {path.relative_to(ROOT)}")


def chosen(variants: dict[str, Block], only: list[str] | None) -> dict[str, Block]:
    """The default, which is the first, and of the others those in `only`, or all."""
    check_named("--only", only or [], variants, f"`ablation` in params.yaml has {'; '.join(variants)}")
    first = next(iter(variants))
    return {name: changes for name, changes in variants.items() if only is None or name in (first, *only)}


def whole(params: Block, changes: Block) -> Block:
    """The blocks that a variant may change, whole."""
    if unknown := set(changes) - {MODEL, "embed", "text"}:
        raise BadParameterError(
            f"ablation changes {', '.join(sorted(unknown))}: it can change {MODEL}, embed and text."
        )
    return {name: params[name] | changes.get(name, {}) for name in (MODEL, "embed", "text")}


def twin(name: str, blocks: dict[str, Block]) -> str | None:
    """Why a variant that is another one's double, say since it became the default, is not run; None if it is not."""
    first = next(other for other, changes in blocks.items() if changes == blocks[name])
    return None if first == name else f"the same as {first}"


def inapplicable(clone: Repository, dataset: str, text: Block, default: Block) -> str | None:
    """Why a variant's text says nothing on these data, or None if it does."""
    if text == default:
        return None
    cleaned, fit = clone.root / "data" / "clean" / dataset, clone.root / "data" / "split" / dataset / "fit"
    texts, usual = (
        gather_item_texts(cleaned, fit, parse_config(TextConfig, block, where="text")) for block in (text, default)
    )
    if not any(texts):
        return "no item has such text"
    return "the same text as the default" if texts == usual else None


if __name__ == "__main__":
    main()
