"""compare: the models side by side, each family without and with text, HybridVAE against each of the others."""

from stage import DATASET, PARAMS, ROOT, block, data, metrics, run

from hybridvae.evaluation.comparison import compare, compare_pairs, metrics_table
from hybridvae.evaluation.intervals import EvaluationConfig
from hybridvae.files import read_frame, read_json, write_csv, write_metrics
from hybridvae.reporting.markdown import plain_report

TABLE = ROOT / "plots" / "comparison.csv"


def main() -> str:
    models = PARAMS["models"]
    test = {name: read_json(metrics("test", f"{name}.json"), "full", "sampled") for name in models}
    per_user = {name: read_frame(data("evaluate", name) / "users.parquet") for name in models}
    config, seed = block("evaluation", EvaluationConfig), PARAMS["split"]["seed"]
    pairs = compare_pairs(per_user, config=config, seed=seed)
    tests = compare(per_user, reference="hybridvae", config=config, seed=seed) if "hybridvae" in models else {}
    about = {"dataset": DATASET, "reference": "hybridvae", "models": models}
    write_metrics(metrics("comparison.json"), about | {"pairs": pairs, "tests": tests})
    write_csv(TABLE, metrics_table(test).reset_index())
    print(plain_report(test, tests, pairs))
    return f"compared {len(models)} models on {DATASET}"


run(main, wrote=[metrics("comparison.json"), TABLE])
