"""compare: the models side by side, HybridVAE tested against each of the others."""

from stage import DATASET, PARAMS, ROOT, block, data, metrics, run

from hybridvae.evaluation.comparison import compare, metrics_table
from hybridvae.evaluation.intervals import EvaluationConfig
from hybridvae.files import read_frame, read_json, write_csv, write_metrics
from hybridvae.reporting.markdown import plain_report

TABLE = ROOT / "plots" / "comparison.csv"


def main() -> str:
    models = PARAMS["models"]
    test = {name: read_json(metrics("test", f"{name}.json"), "full", "sampled") for name in models}
    tests = {}
    if "hybridvae" in models:
        per_user = {name: read_frame(data("evaluate", name) / "users.parquet") for name in models}
        config = block("evaluation", EvaluationConfig)
        tests = compare(per_user, reference="hybridvae", config=config, seed=PARAMS["split"]["seed"])
    write_metrics(
        metrics("comparison.json"), {"dataset": DATASET, "reference": "hybridvae", "models": models, "tests": tests}
    )
    write_csv(TABLE, metrics_table(test).reset_index())
    print(plain_report(test, tests))
    return f"compared {len(models)} models on {DATASET}"


run(main, wrote=[metrics("comparison.json"), TABLE])
