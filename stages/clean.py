"""clean: raw files -> valid ratings after the k-core, item metadata, rejects."""

from stage import DATASET, block, data, metrics, run

from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.engine import EngineConfig
from hybridvae.files import write_metrics


def main() -> str:
    report = clean(data("raw"), data("clean"), block("clean", CleanConfig), block("engine", EngineConfig))
    write_metrics(metrics("clean.json"), {"dataset": DATASET, **report})
    rejected = sum(report["rejected"].values())
    described = f", described {report['described']} of {report['items']} items" if report["metadata_rows_in"] else ""
    return (
        f"kept {report['rows_out']} of {report['rows_in']} rows ({rejected} rejected, "
        f"{report['duplicates']} duplicates, "
        f"{report['k_core_removed']} outside the k-core): {report['users']} users, {report['items']} items"
        f"{described}"
    )


run(main, wrote=[data("clean"), metrics("clean.json")])
