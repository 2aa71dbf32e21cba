"""compare: the models side by side, each family without and with text, HybridVAE against each of the others."""

from stage import DATASET, PARAMS, ROOT, block, data, metrics, run

from hybridvae.errors import NotEnoughMemoryError
from hybridvae.evaluation.comparison import compare, compare_pairs, metrics_table
from hybridvae.evaluation.intervals import EvaluationConfig
from hybridvae.files import read_frame, read_json, write_csv, write_metrics
from hybridvae.refusal import KEY
from hybridvae.reporting.markdown import plain_report

TABLE = ROOT / "plots" / "comparison.csv"


def main() -> str:
    found = {name: read_json(metrics("test", f"{name}.json")) for name in PARAMS["models"]}
    refused = {name: of_model[KEY] for name, of_model in found.items() if KEY in of_model}
    models = [name for name in PARAMS["models"] if name not in refused]
    if not models:
        raise NotEnoughMemoryError(f"no model was fitted: {'; '.join(refused.values())}")
    test = {name: read_json(metrics("test", f"{name}.json"), "full", "sampled") for name in models}
    per_user = {name: read_frame(data("evaluate", name) / "users.parquet") for name in models}
    config, seed = block("evaluation", EvaluationConfig), PARAMS["split"]["seed"]
    pairs = compare_pairs(per_user, config=config, seed=seed)
    tests = compare(per_user, reference="hybridvae", config=config, seed=seed) if "hybridvae" in models else {}
    about = {"dataset": DATASET, "reference": "hybridvae", "models": models} | ({KEY: refused} if refused else {})
    write_metrics(metrics("comparison.json"), about | {"pairs": pairs, "tests": tests})
    write_csv(TABLE, metrics_table(test).reset_index())
    print(plain_report(test, tests, pairs, refused))
    return f"compared {len(models)} models on {DATASET}"


run(main, wrote=[metrics("comparison.json"), TABLE])
