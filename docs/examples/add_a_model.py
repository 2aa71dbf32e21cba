"""Write a model and judge it as the others are: here a walk of two steps on the graph of users and items.

    python docs/examples/add_a_model.py data/split/ml-100k

In the pipeline a model is such a class as `Model` in a file of `src/hybridvae/models/`, a block in params.yaml and a
word in `models`; the shared tests find it by themselves. To try an idea, a few lines do.
"""

import sys
from pathlib import Path

import numpy as np

import hybridvae as hv
from hybridvae import FloatArray, IntArray, Interactions
from hybridvae.files import read_yaml


class TwoSteps:
    """From a user to those who like the same, to what they like; popular items are damped by their degree."""

    def fit(self, interactions: Interactions) -> "TwoSteps":
        """Keep the matrix (U, I) and divide each item by the square root of its degree."""
        self.positives = interactions.positives
        degrees = np.maximum(interactions.item_counts, 1)
        self.damped = self.positives.multiply(degrees**-0.5).tocsr()
        return self

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) users -> (B, I): X_b X' X, users weighed by the damped items that they share."""
        alike = self.damped[users] @ self.damped.T  # (B, U)
        return np.asarray((alike @ self.damped).todense(), dtype=np.float32)


if len(sys.argv) != 2:
    print("usage: python docs/examples/add_a_model.py data/split/ml-100k", file=sys.stderr)
    sys.exit(2)
folder = Path(sys.argv[1])
interactions = hv.read_interactions(folder / "fit", upto="train")
targets = hv.read_targets(folder / "fit")  # of the validation part: an idea is never tried on the test part
scorers = {"two steps": TwoSteps().fit(interactions).scores}
params = read_yaml(Path(__file__).parents[2] / "params.yaml")  # the rivals have their tuned parameters
for name in ("itemknn", "popularity"):
    scorers[name] = hv.create(name, params[name], hv.Context()).fit(interactions).scores
for name, scores in scorers.items():
    judged = hv.judge(scores, interactions, targets)
    print(f"{name}: NDCG@10 {judged.per_user['full/ndcg@10'].mean():.4f}, coverage {judged.coverage:.2f}")
