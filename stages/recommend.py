"""recommend: the best unseen items of every user, by one of the trained models."""

from stage import PARAMS, block, data, run

from hybridvae.checkpoint import readable
from hybridvae.data.interactions import read_interactions
from hybridvae.recommendations import Recommendations, RecommendConfig, write_lists
from hybridvae.refusal import refusal_in, write_refusal

INTO = data("recommend")


def main() -> str:
    config = block("recommend", RecommendConfig)
    if sentence := refusal_in(data("train", config.model)):
        write_refusal(INTO, sentence)
        return f"no lists: {config.model} was not fitted: {sentence}"
    fit, test = data("split", "fit"), data("split", "test")
    with readable(fit.parent, "dvc repro split"):
        known = read_interactions(fit, test, upto="test")
    recommendations = Recommendations.load(data("train", config.model), known, device=PARAMS["device"])
    rows = write_lists(INTO / "lists.parquet", recommendations, config.top_n)
    return f"{rows:,} recommendations by {config.model} for {known.n_users:,} users"


run(main, wrote=[INTO])
