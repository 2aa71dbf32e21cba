"""One configuration for all data: of each model the one that, where it loses most against the tuned one, loses least.

    python benchmarks/defaults.py                                         # over all data sets that were tuned
    python benchmarks/defaults.py ml-100k musical_instruments             # over these
    python benchmarks/defaults.py --models hybridvae                      # of this model alone

It is printed, and written into params.yaml. Only configurations that every data set's budget reached are compared; ties
go to the one tried first.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from command import RESULTS, ROOT

from hybridvae.experiments.grid import write_parameters
from hybridvae.files import read_json, read_yaml, write_json

TUNING = RESULTS / "tuning"


def main() -> None:
    """Print the defaults, write them into params.yaml, and restate what the benchmarks chose beside them."""
    parser = argparse.ArgumentParser(description="Write the configurations of least loss into params.yaml.")
    parser.add_argument("datasets", nargs="*", help="tuned data sets (default: all)")
    tuned = {path.stem: path for path in sorted(TUNING.glob("*.json"))}
    parser.add_argument("--models", nargs="+", help="(default: all)")
    arguments = parser.parse_args()
    chosen = arguments.datasets or list(tuned)
    if missing := [dataset for dataset in chosen if dataset not in tuned]:
        sys.exit(f"defaults: {', '.join(missing)} was not tuned: {TUNING.relative_to(ROOT)} has {', '.join(tuned)}.")
    tunings = [read_json(tuned[dataset])["models"] for dataset in chosen]
    if unknown := set(arguments.models or []) - set(tunings[0]):
        sys.exit(f"defaults: --models names {', '.join(sorted(unknown))}: {', '.join(tunings[0])} were tuned.")
    best = {}
    for model in arguments.models or tunings[0]:
        found = least_loss([tuning[model] for tuning in tunings])
        if found is None:
            print(f"{model}: no configuration was tried on all of {', '.join(chosen)}: its block stays as it is")
            continue
        best[model], losses = found
        lost = ", ".join(f"{loss:.1%} on {dataset}" for dataset, loss in zip(chosen, losses, strict=True))
        print(f"{model}: {json.dumps(best[model])}, below the best by {lost}")
    write_parameters(ROOT / "params.yaml", best)
    params = read_yaml(ROOT / "params.yaml")
    for path in sorted(TUNING.parent.glob("*.json")):
        report = read_json(path)
        for model, of_model in report.get("models", {}).items():
            of_model["overrides"] = overrides(of_model["parameters"], params[model])
        write_json(path, report)


def least_loss(tunings: list[list[dict[str, Any]]]) -> tuple[dict[str, Any], list[float]] | None:
    """A model's grid values of least loss, and what share of the best figure they lose on each data set.

    None if no configuration was tried on all of them.

    Args:
        tunings: of each data set, the configurations tried: [{"parameters", "ndcg@10", ...}].
    """
    figures = [
        {json.dumps(entry["parameters"], sort_keys=True): entry["ndcg@10"] for entry in tuning} for tuning in tunings
    ]
    losses = {
        name: [1 - of_dataset[name] / max(of_dataset.values()) for of_dataset in figures]
        for name in figures[0]
        if all(name in of_dataset for of_dataset in figures)
    }
    if not losses:
        return None
    least = min(losses, key=lambda name: max(losses[name]))
    return json.loads(least), losses[least]


def overrides(parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are not the defaults."""
    return {key: value for key, value in parameters.items() if value != defaults.get(key)}


if __name__ == "__main__":
    main()
