"""visualize: the figures, from what earlier stages wrote."""

import pandas as pd
from stage import DATASET, PARAMS, ROOT, data, metrics, run

from hybridvae import figures
from hybridvae.files import read_json

FOLDER = ROOT / "plots" / "figures"


def main() -> str:
    rows = []
    for model in PARAMS["models"]:
        test = read_json(metrics("test", f"{model}.json"))
        rows += [
            {"model": model, "protocol": protocol, **test[protocol]["ndcg@10"]}
            for protocol in ("sampled", "full", "cold")
            if protocol in test
        ]
    figures.save(figures.comparison(pd.DataFrame(rows), title=f"Models on {DATASET}, test part"), FOLDER, "comparison")
    if "hybridvae" in PARAMS["models"]:
        fit = read_json(data("validate", "hybridvae") / "fit.json")
        title = f"HybridVAE on {DATASET}, fitted on the training part"
        curves = figures.training_curves(pd.DataFrame(fit["history"]), chosen=fit["epochs"], title=title)
        figures.save(curves, FOLDER, "training_curves")
    return f"{', '.join(sorted(path.name for path in FOLDER.iterdir()))}"


run(main, wrote=[FOLDER])
