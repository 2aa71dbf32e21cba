"""One configuration for all data: of each model the one with the best mean validation rank over tuned data sets.

    python benchmarks/defaults.py                                # over all that were tuned
    python benchmarks/defaults.py ml-100k musical_instruments    # over these

It is printed, and written into params.yaml. Only configurations that every data set's budget reached are compared; ties
go to the one tried first.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd
from runs import ROOT

from hybridvae.experiments.grid import with_parameters
from hybridvae.files import read_json, read_yaml, write_json

TUNING = ROOT / "docs" / "benchmarks" / "tuning"


def main() -> None:
    """Print the defaults, write them into params.yaml, and restate what the benchmarks chose beside them."""
    parser = argparse.ArgumentParser(description="Write the configurations of best mean rank into params.yaml.")
    parser.add_argument("datasets", nargs="*", help="tuned data sets (default: all)")
    tuned = {path.stem: path for path in sorted(TUNING.glob("*.json"))}
    chosen = parser.parse_args().datasets or list(tuned)
    if missing := [dataset for dataset in chosen if dataset not in tuned]:
        sys.exit(f"defaults: {', '.join(missing)} was not tuned: {TUNING.relative_to(ROOT)} has {', '.join(tuned)}.")
    best = best_mean_rank([read_json(tuned[dataset])["models"] for dataset in chosen])
    for model, parameters in best.items():
        print(f"{model}: {json.dumps(parameters)}")
    with_parameters(ROOT / "params.yaml", best)
    params = read_yaml(ROOT / "params.yaml")
    for path in sorted(TUNING.parent.glob("*.json")):
        report = read_json(path)
        for model, of_model in report.get("models", {}).items():
            of_model["overrides"] = overrides(of_model["parameters"], params[model])
        write_json(path, report)


def best_mean_rank(tunings: list[Mapping[str, list[dict[str, Any]]]]) -> dict[str, dict[str, Any]]:
    """Model -> grid values of the best configuration.

    Args:
        tunings: of each data set, the configurations tried: model -> [{"parameters", "ndcg@10", ...}].
    """
    best = {}
    for model in tunings[0]:
        figures = pd.DataFrame(
            {
                number: {json.dumps(entry["parameters"]): entry["ndcg@10"] for entry in tuning[model]}
                for number, tuning in enumerate(tunings)
            }
        ).dropna()
        order = [json.dumps(entry["parameters"]) for entry in tunings[0][model]]
        ranks = figures.rank(ascending=False).mean(axis=1)
        best[model] = json.loads(min(ranks.index, key=lambda name: (ranks[name], order.index(name))))
    return best


def overrides(parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are not the defaults."""
    return {key: value for key, value in parameters.items() if value != defaults.get(key)}


if __name__ == "__main__":
    main()
