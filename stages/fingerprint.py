"""fingerprint: of each model a hash of its code, so that a change of one model's code leaves the others as they are."""

from stage import PARAMS, metrics, run

from hybridvae.dependencies import fingerprint, model_file
from hybridvae.files import write_json


def main() -> str:
    prints = {model: fingerprint(model_file(model)) for model in PARAMS["models"]}
    write_json(metrics("fingerprint.json"), {"models": prints})
    return f"the code of {len(prints)} models"


run(main, wrote=[metrics("fingerprint.json")])
