"""Lists by approximate search against scoring all items: milliseconds of each, and what share of the best is found.

    python benchmarks/approximate.py --items 100_000 500_000

Drawn item vectors as wide as HybridVAE's, in clusters of unequal size, on one core. Takes the extra `ann`.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from scipy import sparse

from hybridvae.approximate import Index
from hybridvae.arrays import FloatArray
from hybridvae.data.interactions import Interactions
from hybridvae.errors import in_one_sentence
from hybridvae.models import Recommender
from hybridvae.recommendations import Recommendations, best
from hybridvae.seeds import random_generator
from hybridvae.service import use_one_thread

WIDTH, TASTE, CLUSTERS = 640, 64, 300  # numbers of an item's vector: 384 of text, 256 of the linear path
HISTORY, LIST = 10, 100
BATCH = 64  # lists that the service computes together, at most


class Drawn:
    """A model whose query is the sum of the history's items."""

    folds_in = by_product = True

    def __init__(self, n_items: int, seed: int) -> None:
        random = random_generator(seed, "approximate")
        shares = 1 / np.arange(1, CLUSTERS + 1)
        clusters = random.choice(CLUSTERS, n_items, p=shares / shares.sum())
        taste = random.standard_normal((CLUSTERS, TASTE), dtype=np.float32)[clusters]
        taste += 0.6 * random.standard_normal((n_items, TASTE), dtype=np.float32)
        self.items: FloatArray = taste @ random.standard_normal((TASTE, WIDTH), dtype=np.float32) / TASTE**0.5
        self.items += 0.15 * random.standard_normal((n_items, WIDTH), dtype=np.float32)
        self.items *= np.exp(0.3 * random.standard_normal((n_items, 1), dtype=np.float32))

    def vectors_of_items(self) -> FloatArray:
        """(I, D)."""
        return self.items

    def queries(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, D)."""
        queries: FloatArray = histories @ self.items
        return queries

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I)."""
        scores: FloatArray = (torch.from_numpy(self.queries(histories)) @ torch.from_numpy(self.items).T).numpy()
        return scores


def measure(n_items: int, seed: int) -> str:
    """One size of catalogue, in words."""
    model, names = Drawn(n_items, seed), np.array([str(item) for item in range(n_items)], dtype=object)
    shop = Recommendations("drawn", cast(Recommender, cast(Any, model)), Interactions.without_users(names, names))
    began = time.perf_counter()
    index = Index(shop)
    built = time.perf_counter() - began
    random = random_generator(seed, "histories")
    items = random.integers(0, n_items, BATCH * HISTORY)
    bounds = np.arange(BATCH + 1) * HISTORY
    histories = sparse.csr_matrix((np.ones(len(items), dtype=np.float32), items, bounds), shape=(BATCH, n_items))
    exact, found = best(model.scores_of(histories), LIST, seen=histories), index.best(histories, LIST, seen=histories)
    recall = np.mean([len(np.intersect1d(*pair)) / LIST for pair in zip(exact.items, found.items, strict=True)])

    def scored(some: sparse.csr_matrix) -> object:
        return best(model.scores_of(some), LIST, seen=some)

    def searched(some: sparse.csr_matrix) -> object:
        return index.best(some, LIST, seen=some)

    ways = [(how, some) for some in (histories[:1], histories) for how in (scored, searched)]
    times = " | ".join(f"{_milliseconds(how, some):,.1f}" for how, some in ways)
    return f"| {n_items:,} | {times} | {recall:.3f} | {built:,.0f} |"


def _milliseconds(how: Callable[[sparse.csr_matrix], object], histories: sparse.csr_matrix) -> float:
    times = []
    for _ in range(7):
        began = time.perf_counter()
        how(histories)
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1000


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", nargs="+", type=int, default=[100_000, 500_000])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    use_one_thread()
    with in_one_sentence("approximate"):
        print("| items | one, all scored (ms) | searched | 64, all scored (ms) | searched | share found | index (s) |")
        print("|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        for n_items in arguments.items:
            print(measure(n_items, arguments.seed), flush=True)


if __name__ == "__main__":
    main()
