"""fingerprint: of each model a hash of its code, so that a change of one model's code leaves the others as they are."""

from stage import PARAMS, ROOT, metrics, run

from hybridvae.dependencies import fingerprint, model_file, reached
from hybridvae.errors import BadParameterError
from hybridvae.files import read_yaml, write_json


def main() -> str:
    watched = [ROOT / path for path in read_yaml(ROOT / "dvc.yaml")["stages"]["fingerprint"]["deps"]]
    prints = {}
    for model in PARAMS["models"]:
        for module in reached(model_file(model)):
            if not any(module.is_relative_to(path) for path in watched):
                path = module.relative_to(ROOT).as_posix()
                raise BadParameterError(f"{model} imports {path}: add it to the `deps` of fingerprint in dvc.yaml.")
        prints[model] = fingerprint(model_file(model))
    write_json(metrics("fingerprint.json"), {"models": prints})
    return f"the code of {len(prints)} models"


run(main, wrote=[metrics("fingerprint.json")])
