"""train MODEL: fit again on training + validation for the chosen number of epochs; what ships."""

import sys

from stage import DATASET, PARAMS, cache, data, interactions_for, run

from hybridvae.files import read_json
from hybridvae.models import Context, FitState, create


def main() -> str:
    name = sys.argv[1]
    state = FitState(cache() / "fits")
    epochs = read_json(data("validate", name) / "fit.json")["epochs"]
    model = create(name, PARAMS.get(name), Context(PARAMS["seed"], PARAMS["device"], state), epochs=epochs)
    model.fit(interactions_for(model, upto="validation"))
    model.save(data("train", name))
    state.forget()
    return f"{name} on {DATASET}: fitted on training + validation" + (f" for {epochs} epochs" if epochs else "")


run(main)
