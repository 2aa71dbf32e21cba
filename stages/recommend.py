"""recommend: the best unseen items of every user, by one of the trained models."""

from stage import PARAMS, block, data, run

from hybridvae.checkpoint import readable
from hybridvae.data.interactions import read_interactions
from hybridvae.recommendations import Recommendations, RecommendConfig, write_lists

INTO = data("recommend")


def main() -> str:
    config = block("recommend", RecommendConfig)
    fit, test = data("split", "fit"), data("split", "test")
    with readable(fit.parent, "dvc repro split"):
        known = read_interactions(fit, test, upto="test")
    recommendations = Recommendations.load(data("train", config.model), known, device=PARAMS["device"])
    rows = write_lists(INTO / "lists.parquet", recommendations, config.top_n)
    return f"{rows:,} recommendations by {config.model} for {known.n_users:,} users"


run(main, wrote=[INTO])
