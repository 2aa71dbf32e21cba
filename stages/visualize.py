"""visualize: the figures, from what earlier stages wrote."""

import pandas as pd
from stage import DATASET, PARAMS, ROOT, data, metrics, run

from hybridvae.checkpoint import read_checkpoint
from hybridvae.data.interactions import read_interactions
from hybridvae.files import read_json
from hybridvae.models import Context
from hybridvae.models.hybridvae import Model
from hybridvae.reporting import figures
from hybridvae.reporting.figure_data import comparison_frame, pairs_frame, slices_frame
from hybridvae.reporting.user_map import users_map

FOLDER = ROOT / "plots" / "figures"


def main() -> str:
    compared = read_json(metrics("comparison.json"), "models", "pairs")
    models, pairs = compared["models"], compared["pairs"]
    test = {model: read_json(metrics("test", f"{model}.json"), "full", "sampled") for model in models}
    drawn = {
        "comparison": figures.comparison(comparison_frame(test), title=f"Models on {DATASET}, test part"),
        "slices": figures.slices(slices_frame(test), title=f"Who and what is served well on {DATASET}, test part"),
    }
    if pairs:
        frame = pairs_frame(pairs, next(iter(test.values())))
        drawn["pairs"] = figures.pairs(frame, title=f"Does text pay? {DATASET}, test part")
    if "hybridvae" in models:
        fit = read_json(data("validate", "hybridvae") / "fit.json", "chosen", "history")
        drawn["training_curves"] = figures.training_curves(
            pd.DataFrame(fit["history"]),
            chosen=fit["chosen"]["epochs"],
            title=f"HybridVAE on {DATASET}, fitted on the training part",
        )
        interactions = read_interactions(data("split", "fit"), upto="validation")
        context = Context(device=PARAMS["device"])
        _, model, _ = read_checkpoint(data("train", "hybridvae"), interactions, context)
        assert isinstance(model, Model)
        places, shows = users_map(model.latent_means, interactions, seed=PARAMS["seed"])
        users = "one user" if len(places) == 1 else f"{len(places):,} users"
        drawn["users"] = figures.users(places, shows=shows, title=f"HybridVAE's view of {users} of {DATASET}")
    for name, figure in drawn.items():
        figures.save(figure, FOLDER, name)
    return f"drew {', '.join(drawn)}"


run(main, wrote=[FOLDER])
