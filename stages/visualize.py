"""visualize: the figures, from what earlier stages wrote."""

import pandas as pd
from stage import DATASET, PARAMS, ROOT, data, metrics, run

from hybridvae import figures
from hybridvae.files import read_json


def main() -> str:
    folder = ROOT / "plots" / "figures"
    rows = []
    for model in PARAMS["models"]:
        test = read_json(metrics("test", f"{model}.json"))
        rows += [
            {"model": model, "protocol": protocol, **test[protocol]["ndcg@10"]}
            for protocol in ("sampled", "full", "cold")
            if protocol in test
        ]
    figures.save(figures.comparison(pd.DataFrame(rows), title=f"Models on {DATASET}, test part"), folder, "comparison")
    if "hybridvae" in PARAMS["models"]:
        fit = read_json(data("validate", "hybridvae") / "fit.json")
        title = f"HybridVAE on {DATASET}, fitted on the training part"
        curves = figures.training_curves(pd.DataFrame(fit["history"]), chosen=fit["epochs"], title=title)
        figures.save(curves, folder, "training_curves")
    return f"wrote {', '.join(sorted(path.name for path in folder.iterdir()))}"


run(main)
