"""Small worlds for a judge: who rated what, what was held out, and the candidates."""

import numpy as np
from scipy import sparse

from hybridvae.data.interactions import Interactions, Targets


def world(ratings, targets, candidates, *, cold=None, part=2):
    """Interactions whose every rating is a positive, and targets [(user, item)] with their candidates."""
    matrix = sparse.csr_matrix(np.asarray(ratings, dtype=np.float32))
    n_users, n_items = matrix.shape
    names = lambda letter, n: np.array([f"{letter}{k}" for k in range(n)], dtype=object)  # noqa: E731
    positives = matrix.copy()
    positives.data[:] = 1
    cold = np.zeros(n_items, dtype=int) if cold is None else np.asarray(cold)
    interactions = Interactions(
        positives, positives, matrix, names("u", n_users), names("i", n_items), names("", n_items), cold
    )
    users, items = (np.array(column) for column in zip(*targets, strict=True))
    return interactions, Targets(users, items, np.array(candidates), part)


def random_world(seed, n_users=30, n_items=40):
    random = np.random.default_rng(seed)
    ratings = (random.random((n_users, n_items)) < 0.2) * 5.0
    targets, candidates = [], []
    for user in range(n_users):
        unseen = random.permutation(np.flatnonzero(ratings[user] == 0))
        for item in unseen[: 1 + user % 3]:
            targets.append((user, item))
            candidates.append(unseen[5:15])
    return world(ratings, targets, candidates), random
