"""split: clean ratings -> fit (training and validation part) and test, with their candidates."""

from stage import DATASET, block, data, metrics, run

from hybridvae.data.engine import EngineConfig
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.files import write_metrics


def main() -> str:
    report = split(data("clean"), data("split"), block("split", SplitConfig), block("engine", EngineConfig))
    write_metrics(metrics("split.json"), {"dataset": DATASET, **report})
    tied, negatives = report["share_of_users_with_tied_boundary"], report["test"]["negatives"]
    return (
        f"{report['users']} users, {report['items']} items; targets: {report['validation']['targets']} validation, "
        f"{report['test']['targets']} test, each among {negatives['min']} to {negatives['max']} negatives (mean "
        f"{negatives['mean']:.1f}); {tied:.0%} of the users have a boundary within a tie of timestamps"
    )


run(main, wrote=[data("split"), metrics("split.json")])
