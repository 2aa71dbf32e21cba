"""train MODEL: fit again on training + validation for the chosen number of epochs; what ships."""

from stage import DATASET, PARAMS, block, cache, data, interactions_for, metrics, model_name, run

from hybridvae.checkpoint import Origin, write_checkpoint
from hybridvae.embedding import EmbedConfig
from hybridvae.files import read_json
from hybridvae.itemtext import TextConfig
from hybridvae.models import Context, FitState, create

NAME = model_name()


def main() -> str:
    state = FitState(cache() / "fits")
    epochs = read_json(data("validate", NAME) / "fit.json")["epochs"]
    model = create(NAME, PARAMS.get(NAME), Context(PARAMS["seed"], PARAMS["device"], state), epochs=epochs)
    interactions = interactions_for(model, upto="validation")
    model.fit(interactions)
    origin = Origin(
        dataset=DATASET,
        split=PARAMS["split"]["strategy"],
        seed=PARAMS["seed"],
        source=PARAMS["sources"][DATASET],
        parameters=PARAMS.get(NAME) or {},
        epochs=epochs,
        text_fields=block("text", TextConfig).fields if model.needs_vectors else (),
        text_encoder=block("embed", EmbedConfig).model,
        validation=read_json(metrics("validation", f"{NAME}.json")),
    )
    write_checkpoint(data("train", NAME), NAME, model, interactions, origin)
    state.forget()
    return f"{NAME} on {DATASET}: fitted on training + validation" + (f" for {epochs} epochs" if epochs else "")


run(main, wrote=[data("train", NAME)])
