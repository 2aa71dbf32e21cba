"""evaluate MODEL: judge the shipped model on the test part, once."""

from stage import DATASET, PARAMS, block, data, metrics, model_name, run

from hybridvae.checkpoint import read_checkpoint
from hybridvae.data.interactions import read_interactions, read_targets
from hybridvae.evaluation.intervals import EvaluationConfig, summarise
from hybridvae.evaluation.judge import judge
from hybridvae.evaluation.protocols import ProtocolName, titles
from hybridvae.evaluation.slices import slices
from hybridvae.files import write_frame, write_metrics
from hybridvae.models import Context
from hybridvae.refusal import KEY, refusal_in, write_refusal

NAME = model_name()


def main() -> str:
    about = {"dataset": DATASET, "model": NAME, "split": "test"}
    if sentence := refusal_in(data("train", NAME)):
        write_refusal(data("evaluate", NAME), sentence)
        write_metrics(metrics("test", f"{NAME}.json"), about | {KEY: sentence})
        return f"{NAME} on {DATASET} was not fitted: {sentence}"
    interactions = read_interactions(data("split", "fit"), upto="validation")
    context = Context(PARAMS["seed"], PARAMS["device"])
    _, model, _ = read_checkpoint(data("train", NAME), interactions, context)
    judgement = judge(model.scores, interactions, read_targets(data("split", "test")))
    judgement.per_user.insert(0, "user_id", interactions.users[judgement.per_user["user_index"]])
    config, seed = block("evaluation", EvaluationConfig), PARAMS["split"]["seed"]
    summary = summarise(judgement, config, seed=seed)
    summary["slices"] = slices(judgement.per_user, judgement.per_target, interactions, config, seed=seed)
    write_frame(data("evaluate", NAME) / "users.parquet", judgement.per_user)
    # Who liked which item is the data set's to tell and stays in data/split, whose order these rows have.
    write_frame(data("evaluate", NAME) / "targets.parquet", judgement.per_target.drop(columns="item_index"))
    write_metrics(metrics("test", f"{NAME}.json"), about | summary)
    protocols: tuple[ProtocolName, ...] = ("full", "sampled")
    figures = (f"{summary[name]['ndcg@10']['mean']:.4f} ({titles(name, summary).sentence})" for name in protocols)
    return f"{NAME} on {DATASET}: NDCG@10 {', '.join(figures)}"


run(main, wrote=[data("evaluate", NAME), metrics("test", f"{NAME}.json")])
