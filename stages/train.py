"""train MODEL: fit again on training + validation with what validation chose; what ships."""

from stage import DATASET, LEADS, PARAMS, cache, data, metrics, model_name, run, spread, vectors_for

from hybridvae.checkpoint import Origin, write_checkpoint
from hybridvae.data.interactions import read_interactions
from hybridvae.files import read_json
from hybridvae.models import Context, FitState, create
from hybridvae.refusal import refusal_in, write_refusal

NAME = model_name()


def main() -> str:
    if sentence := refusal_in(data("validate", NAME)):
        if not LEADS:
            return ""
        write_refusal(data("train", NAME), sentence)
        return f"{NAME} on {DATASET} was not fitted: {sentence}"
    state = FitState(cache() / "fits")
    chosen = read_json(data("validate", NAME) / "fit.json", "chosen")["chosen"]
    model = create(NAME, PARAMS.get(NAME), Context(PARAMS["seed"], PARAMS["device"], state), chosen=chosen)
    spread(model)
    interactions = read_interactions(data("split", "fit"), upto="validation", vectors=vectors_for(model))
    model.fit(interactions)
    if not LEADS:
        return ""
    origin = Origin(
        dataset=DATASET,
        split=PARAMS["split"]["strategy"],
        seed=PARAMS["seed"],
        source=read_json(metrics("fetch.json"), "source")["source"],
        parameters=PARAMS.get(NAME) or {},
        chosen=chosen,
        text_fields=tuple(PARAMS["text"]["fields"]) if model.needs_vectors else (),
        text_encoder=PARAMS["embed"]["model"],
        validation=read_json(metrics("validation", f"{NAME}.json"), "full", "sampled"),
    )
    write_checkpoint(data("train", NAME), NAME, model, interactions, origin)
    state.forget()
    said = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
    return f"{NAME} on {DATASET}: fitted on training + validation" + (f", {said}" if said else "")


run(main, wrote=[data("train", NAME)])
