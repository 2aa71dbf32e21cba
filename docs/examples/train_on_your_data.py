"""Train HybridVAE on reviews of your own, judge it beside Item-KNN, and recommend. No DVC, no params.yaml.

    python docs/examples/train_on_your_data.py reviews.jsonl [metadata.jsonl]

Both may be JSON lines, CSV or Parquet: docs/your-data.md says which names of columns are read.
"""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import hybridvae as hv


def main(reviews: Path, metadata: Path | None, folder: Path) -> None:
    """Raw files -> ratings -> parts -> vectors -> a fit -> figures and recommendations."""
    raw, cleaned, fit, test = (folder / name for name in ("raw", "clean", "split/fit", "split/test"))
    raw.mkdir()
    for role, file in (("reviews", reviews), ("metadata", metadata)):
        if file is not None:
            shutil.copy(file, raw / f"{role}.data")  # the kind is recognised by what is in the file
    report = hv.clean(raw, cleaned, hv.CleanConfig())
    print(f"{report['rows_out']} ratings of {report['users']} users and {report['items']} items")
    hv.split(cleaned, folder / "split", hv.SplitConfig(candidates=10))

    texts = hv.gather_item_texts(cleaned, fit, hv.TextConfig())
    vectors = hv.embed_texts(texts, hv.EmbedConfig(), cache=folder / "cache")
    training = hv.read_interactions(fit, upto="train", vectors=vectors)
    everything = hv.read_interactions(fit, upto="validation", vectors=vectors)
    targets = hv.read_targets(fit)
    block = {"residual_rate": 0.1, "text_in_encoder": True, "input_dropout": 0.5, "ease_weight": None, "epochs": 20}
    for name, parameters in (("itemknn", {}), ("hybridvae", block)):
        # The epoch is chosen on the validation part; the model that is judged has seen that part too.
        tried = hv.create(name, parameters, hv.Context(seed=1))
        tried.fit(training, validation=hv.ValidationNDCG(training, targets))
        model = hv.create(name, parameters, hv.Context(seed=1), chosen=tried.chosen).fit(everything)
        judged = hv.judge(model.scores, everything, hv.read_targets(test)).per_user
        print(f"{name}: NDCG@10 {judged['full/ndcg@10'].mean():.4f} on {len(judged)} users, full ranking")

    known = hv.read_interactions(fit, test, upto="test")
    favourite = known.items[known.item_counts.argmax()]
    print(f"who likes {favourite} may like:")
    print(hv.Recommendations("hybridvae", model, known).recommend([favourite], k=3).to_string(index=False))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        print("usage: python docs/examples/train_on_your_data.py REVIEWS [METADATA]", file=sys.stderr)
        sys.exit(2)
    with TemporaryDirectory() as name:
        main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None, Path(name))
