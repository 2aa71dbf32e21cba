"""validate MODEL: fit on the training part, choose the epoch on validation, write curves and metrics."""

from dvclive import Live
from stage import DATASET, LEADS, PARAMS, block, cache, data, metrics, model_name, run, spread, vectors_for

from hybridvae.data.interactions import read_interactions, read_targets
from hybridvae.errors import NotEnoughMemoryError
from hybridvae.evaluation.intervals import EvaluationConfig, summarise
from hybridvae.evaluation.judge import ValidationNDCG, judge
from hybridvae.files import write_frame, write_json, write_metrics
from hybridvae.memory import check_memory, free_on
from hybridvae.models import Context, EpochMetrics, FitState, create
from hybridvae.refusal import KEY, write_refusal

NAME = model_name()


def main() -> str:
    try:
        return fitted()
    except NotEnoughMemoryError as error:
        return refused(str(error)) if LEADS else ""


def fitted() -> str:
    state = FitState(cache() / "fits")
    model = create(NAME, PARAMS.get(NAME), Context(PARAMS["seed"], PARAMS["device"], state))
    spread(model)
    interactions = read_interactions(data("split", "fit"), upto="train", vectors=vectors_for(model))
    device = getattr(model, "device", None)
    free = free_on(device.type if device else "cpu")
    print(check_memory(NAME, model.needs(interactions), model.if_too_large, free=free), flush=True)
    targets = read_targets(data("split", "fit"))
    ndcg = ValidationNDCG(interactions, targets)
    if not LEADS:
        model.fit(interactions, validation=ndcg)
        return ""
    history: list[EpochMetrics] = []
    with Live(
        str(data("validate", NAME) / "curves"), dvcyaml=None, save_dvc_exp=False, report=None, monitor_system=False
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
    write_frame(data("validate", NAME) / "users.parquet", judgement.per_user)
    write_json(data("validate", NAME) / "fit.json", {"chosen": dict(model.chosen), "history": history})
    write_metrics(
        metrics("validation", f"{NAME}.json"), {"dataset": DATASET, "model": NAME, "split": "validation", **summary}
    )
    ndcg_at_10 = summary["full"]["ndcg@10"]["mean"]
    write_metrics(metrics("tuning", f"{NAME}.json"), {"ndcg@10": ndcg_at_10})
    state.forget()
    said = "".join(f"{name} {value:g}, " for name, value in model.chosen.items())
    return f"{NAME} on {DATASET}: {said}NDCG@10 {ndcg_at_10:.4f} (full ranking, validation)"


def refused(sentence: str) -> str:
    """The other models go on, and the tables say why this one is not in them."""
    sentence = f"{sentence.removesuffix('.')}; then run `dvc repro --force validate@{NAME}`."
    about = {"dataset": DATASET, "model": NAME, "split": "validation", KEY: sentence}
    write_refusal(data("validate", NAME), sentence)
    write_metrics(metrics("validation", f"{NAME}.json"), about)
    write_metrics(metrics("tuning", f"{NAME}.json"), {})
    return f"{NAME} on {DATASET} was not fitted: {sentence}"


run(main, wrote=[data("validate", NAME), metrics("validation", f"{NAME}.json"), metrics("tuning", f"{NAME}.json")])
