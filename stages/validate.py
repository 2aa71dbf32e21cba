"""validate MODEL: fit on the training part, choose the epoch on validation, write curves and metrics."""

import sys

from dvclive import Live
from stage import DATASET, PARAMS, block, cache, data, interactions_for, metrics, run

from hybridvae.evaluation import judge, validation_ndcg
from hybridvae.files import write_frame, write_json
from hybridvae.interactions import read_targets
from hybridvae.models import Context, EpochMetrics, FitState, Recommender, create
from hybridvae.summary import EvaluationConfig, summarise


def main() -> str:
    name = sys.argv[1]
    state = FitState(cache() / "fits")
    model = create(name, PARAMS.get(name), Context(PARAMS["seed"], PARAMS["device"], state))
    interactions = interactions_for(model, upto="train")
    targets = read_targets(data("split", "fit"))
    history: list[EpochMetrics] = []

    def ndcg(fitted: Recommender) -> float:
        return validation_ndcg(fitted.scores, interactions, targets)

    with Live(
        str(data("validate", name) / "curves"), dvcyaml=None, save_dvc_exp=False, report=None, monitor_system=False
    ) as live:

        def log(epoch: int, figures: EpochMetrics) -> None:
            history.append(figures)
            live.step = epoch
            for key, value in figures.items():
                live.log_metric(key, value)

        model.fit(interactions, validation=ndcg, on_epoch=log)
        if not history:  # a model without epochs still gives a curve, of one point
            log(0, {"ndcg@10": ndcg(model)})

    judgement = judge(model.scores, interactions, targets)
    summary = summarise(judgement, block("evaluation", EvaluationConfig), seed=PARAMS["split"]["seed"])
    write_frame(data("validate", name) / "users.parquet", judgement.per_user)
    write_json(data("validate", name) / "fit.json", {"epochs": model.epochs, "history": history})
    write_json(
        metrics("validation", f"{name}.json"), {"dataset": DATASET, "model": name, "split": "validation", **summary}
    )
    ndcg_at_10 = summary["full"]["ndcg@10"]["mean"]
    write_json(metrics("tuning", f"{name}.json"), {f"{name} validation ndcg@10": ndcg_at_10})
    state.forget()
    chosen = f"epoch {model.epochs} of {len(history)}, " if model.epochs else ""
    return f"{name} on {DATASET}: {chosen}NDCG@10 {ndcg_at_10:.4f} (full ranking, validation)"


run(main)
