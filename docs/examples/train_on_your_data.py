"""Train HybridVAE on reviews of your own, judge it beside Item-KNN, and recommend. No DVC, no params.yaml.

    python docs/examples/train_on_your_data.py reviews.jsonl [metadata.jsonl]

A review is a JSON object a line with user, item, rating and time (see "Your data" in the README).
"""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.embedding import EmbedConfig, embed_texts
from hybridvae.data.interactions import read_interactions, read_targets
from hybridvae.data.item_text import TextConfig, gather_item_texts
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.evaluation.judge import judge, validation_ndcg
from hybridvae.files import write_arrays
from hybridvae.models import Context, create
from hybridvae.recommendations import Recommendations


def main(reviews: Path, metadata: Path | None, folder: Path) -> None:
    """Raw files -> ratings -> parts -> vectors -> a fit -> figures and recommendations."""
    (folder / "raw").mkdir()
    shutil.copy(reviews, folder / "raw" / "reviews.jsonl")  # gzip is recognised by what is in the file
    if metadata:
        shutil.copy(metadata, folder / "raw" / "metadata.jsonl")
    report = clean(folder / "raw", folder / "clean", CleanConfig())
    print(f"{report['rows_out']} ratings of {report['users']} users and {report['items']} items")
    split(folder / "clean", folder / "split", SplitConfig(candidates=10))

    fit, vectors = folder / "split" / "fit", folder / "vectors.safetensors"
    texts = gather_item_texts(folder / "clean", fit, TextConfig())
    write_arrays(vectors, {"vectors": embed_texts(texts, EmbedConfig(), cache=folder / "cache")})

    training = read_interactions(fit, upto="train", vectors=vectors)
    targets = read_targets(fit)
    everything = read_interactions(fit, upto="validation", vectors=vectors)
    block = {"decoder": "residual", "item_bias": True, "text_in_encoder": True, "input_dropout": 0.5, "epochs": 20}
    for name, parameters in (("itemknn", {}), ("hybridvae", block)):
        # The epoch is chosen on the validation part; the model that is judged has seen that part too.
        tried = create(name, parameters, Context(seed=1))
        tried.fit(training, validation=lambda model: validation_ndcg(model.scores, training, targets))
        model = create(name, parameters, Context(seed=1), epochs=tried.epochs).fit(everything)
        judged = judge(model.scores, everything, read_targets(folder / "split" / "test")).per_user
        print(f"{name}: NDCG@10 {judged['full/ndcg@10'].mean():.4f} on {len(judged)} users, full ranking")

    known = read_interactions(fit, folder / "split" / "test", upto="test")
    favourite = known.items[known.positives.sum(axis=0).argmax()]
    print(f"who likes {favourite} may like:")
    print(Recommendations("hybridvae", model, known).recommend([favourite], k=3).to_string(index=False))


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None, Path(name))
