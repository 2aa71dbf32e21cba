"""The judge against published and measured figures: models whose quality on Amazon Beauty is known.

    python benchmarks/validate_judge.py FOLDER_OR_FILE

Reviews of the 2014 5-core, every rating a positive, last item of each user for test (of equal timestamps the last by
item id), fitted on all the rest: the setting of the reference figures. A wrong rank, a wrong candidate or a seen item
left in would show here.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from beauty import clean_beauty, leave_one_out, source
from command import RESULTS
from scipy.sparse.linalg import svds

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.data.interactions import Interactions, read_interactions, read_targets
from hybridvae.errors import HybridVAEError
from hybridvae.evaluation.judge import judge
from hybridvae.evaluation.protocols import ProtocolName
from hybridvae.files import write_json
from hybridvae.models import Context, create

OUTCOME = RESULTS / "judge.json"
TOLERANCE = 0.03  # relative


@dataclass(frozen=True)
class Check:
    """A model and the figures it must give by a protocol, metric -> figure."""

    title: str
    model: str
    parameters: dict[str, float | int | str]
    protocol: ProtocolName
    figures: dict[str, float]


CHECKS = (
    Check("Popularity", "popularity", {}, "full", {"hit@10": 0.0130, "ndcg@10": 0.0059}),
    Check("PureSVD, 50 factors", "puresvd", {}, "full", {"hit@10": 0.0363, "ndcg@10": 0.0184}),
    Check(
        "Item-KNN, k = 200, shrink 10",
        "itemknn",
        {"k": 200, "shrink": 10.0, "neighbours_of": "scored"},
        "full",
        {"hit@10": 0.0699, "ndcg@10": 0.0407},
    ),
    Check("EASE, lambda 50", "ease", {"regularization": 50.0}, "full", {"hit@10": 0.0782, "ndcg@10": 0.0445}),
    Check("Popularity", "popularity", {}, "sampled", {"hit@10": 0.301, "ndcg@10": 0.158}),
    Check("EASE, lambda 500", "ease", {"regularization": 500.0}, "sampled", {"hit@10": 0.432, "ndcg@10": 0.302}),
)


def main() -> str:
    """Run the checks and write the outcome."""
    if len(sys.argv) != 2:
        raise HybridVAEError("give the reviews file, or the folder that it lies in: make validate-judge DATA=...")
    with tempfile.TemporaryDirectory(prefix="hybridvae-") as folder:
        work = Path(folder)
        clean_beauty(Path(sys.argv[1]).expanduser(), work, metadata=False)
        leave_one_out(work / "clean", work / "split", "item_id")
        interactions = read_interactions(work / "split" / "fit", upto="validation")
        targets = read_targets(work / "split" / "test")
    rows: list[dict[str, Any]] = []
    for check in CHECKS:
        protocol, scores = check.protocol, scorer(check, interactions)
        users = judge(scores, interactions, targets, protocols=(protocol,), lists=False).per_user
        for metric, reference in check.figures.items():
            ours = float(users[f"{protocol}/{metric}"].mean())
            row = {"model": check.title, "protocol": protocol, "metric": metric, "ours": ours, "reference": reference}
            rows.append(row | {"deviation": ours / reference - 1})
            print(f"{check.title:30} {protocol:8} {metric:8} {ours:.4f}  {reference:.4f}  {ours / reference - 1:+.1%}")
    report = {
        "data_sha256": source()["reviews_sha256"],
        "command": "make validate-judge DATA=...",
        "tolerance": TOLERANCE,
    }
    report |= {"users": interactions.n_users, "items": interactions.n_items, "targets": len(targets.items)}
    write_json(OUTCOME, report | {"checks": rows})
    wrong = [f"{row['model']} {row['metric']}" for row in rows if abs(row["deviation"]) > TOLERANCE]
    if wrong:
        raise HybridVAEError(f"{', '.join(wrong)} differ from the reference by more than {TOLERANCE:.0%}.")
    return f"all {len(rows)} figures are within {TOLERANCE:.0%} of their references"


def scorer(check: Check, interactions: Interactions) -> Callable[[IntArray], FloatArray]:
    """The scores of the fitted model."""
    if check.model == "puresvd":  # Cremonesi et al. 2010: the history's projection onto the leading item factors
        start = np.ones(min(interactions.positives.shape))
        factors = svds(interactions.positives, k=50, v0=start)[2].T.astype(np.float32)  # (I, 50)
        projected = interactions.positives @ factors
        return lambda users: projected[users] @ factors.T
    return create(check.model, check.parameters, Context()).fit(interactions).scores


if __name__ == "__main__":
    try:
        print(f"validate-judge: {main()}")
    except HybridVAEError as error:
        sys.exit(f"validate-judge: {error}")
