"""Interactions that nobody had, and HybridVAE as it starts: cost does not depend on what they mean."""

from typing import Any

import numpy as np
import torch
from command import REPOSITORY
from scipy import sparse

from hybridvae.arrays import FloatArray
from hybridvae.data.interactions import Interactions, ages
from hybridvae.models import Context, Recommender, create
from hybridvae.models.hybridvae import Model
from hybridvae.seeds import random_generator

HISTORY = 10  # positives of each user
_WIDTH = 384  # of item vectors, as Sentence-BERT's


def drawn(users: int, items: int) -> Interactions:
    """Users who like about `HISTORY` items each, drawn by Zipf's law, and item vectors of length 1 without meaning."""
    random = random_generator(1, "scale", users, items)
    chances = np.cumsum(1 / (np.arange(items) + 3.0))
    liked = np.searchsorted(chances / chances[-1], random.random(users * HISTORY), side="right")
    pairs = np.unique(np.repeat(np.arange(users), HISTORY) * items + liked)  # ordered by user, then item
    owner, item = np.divmod(pairs, items)
    shape, pointers = (users, items), np.searchsorted(owner, np.arange(users + 1))

    def matrix(values: FloatArray) -> sparse.csr_matrix:
        return sparse.csr_matrix((values, item.astype(np.int32), pointers.astype(np.int32)), shape=shape)

    ones = np.ones(len(pairs), dtype=np.float32)
    vectors = random.standard_normal((items, _WIDTH), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = np.array([str(number) for number in range(max(users, items))], dtype=object)
    histories = matrix(ages(np.diff(pointers)).astype(np.float32))
    cold = np.zeros(items, dtype=np.int64)
    return Interactions(
        matrix(ones), histories, matrix(5 * ones), names[:users], names[:items], names[:items], cold, vectors
    )


def hybridvae(**changes: Any) -> Recommender:
    """HybridVAE as params.yaml has it, without EASE, which no large catalogue has room for."""
    return create("hybridvae", REPOSITORY.params["hybridvae"] | {"ease_weight": 0.0} | changes, Context())


def untrained(interactions: Interactions) -> Recommender:
    """HybridVAE as it starts: what it answers means nothing, and takes as long."""
    model = hybridvae()
    assert isinstance(model, Model)
    model.network = model.build(interactions, torch.from_numpy(interactions.item_vectors))
    model.histories = interactions.histories
    return model
