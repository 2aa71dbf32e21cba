"""Who likes what, small enough to be known by heart, and models fitted on it."""

import numpy as np
from scipy import sparse

from hybridvae.data.interactions import Interactions
from hybridvae.models import Context, create

# What suits twenty users better than the defaults; a new model needs no entry unless its defaults do not.
BLOCKS = {
    "hybridvae": {"latent_dim": 8, "hidden_dims": [32], "dropout": 0.0, "beta": 0.01, "batch_size": 20, "epochs": 60},
    "multvae": {
        "latent_dim": 8,
        "hidden_dim": 32,
        "beta": 0.01,
        "batch_size": 20,
        "epochs": 150,
        "learning_rate": 0.01,
    },
    "ials": {"regularization": 0.1},
    "sasrec": {"embedding_dim": 16, "batch_size": 20, "epochs": 60, "dropout": 0.1, "learning_rate": 0.01},
    "sasrec_text": {"embedding_dim": 16, "batch_size": 20, "epochs": 60, "dropout": 0.1, "learning_rate": 0.01},
    "alpharec": {"epochs": 60, "learning_rate": 0.01},
    "lightgcn": {"embedding_dim": 16, "batch_size": 64, "epochs": 60, "learning_rate": 0.01},
}


def histories_of(positives):
    """Ages for a 0/1 matrix: of a row's items the last column is the latest."""
    matrix = sparse.csr_matrix(positives, dtype=np.float32)
    ages = np.repeat(matrix.indptr[1:], np.diff(matrix.indptr)) - np.arange(matrix.nnz)
    return sparse.csr_matrix((ages.astype("f"), matrix.indices, matrix.indptr), shape=matrix.shape)


def interactions_of(positives, *, seed=0):
    """Interactions around a 0/1 matrix; the vectors of items tell even from odd, with noise."""
    matrix = sparse.csr_matrix(np.asarray(positives, dtype=np.float32))
    n_users, n_items = matrix.shape
    random = np.random.default_rng(seed)
    side = np.stack([np.arange(n_items) % 2, 1 - np.arange(n_items) % 2], axis=1)
    vectors = np.hstack([side, 0.3 * random.normal(size=(n_items, 14))])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = np.array([str(n) for n in range(max(n_users, n_items))], dtype=object)
    return Interactions(
        matrix,
        histories_of(matrix),
        matrix * 5,
        names[:n_users],
        names[:n_items],
        names[:n_items],
        np.zeros(n_items, int),
        vectors.astype("f"),
    )


def checkerboard(size=20):
    """Even users like even items and odd users odd ones, but for the diagonal, which is withheld."""
    board = (np.add.outer(np.arange(size), np.arange(size)) % 2 == 0).astype(np.float32)
    np.fill_diagonal(board, 0)
    return board


def fitted(name, interactions, **changes):
    return create(name, BLOCKS.get(name, {}) | changes, Context(seed=1, device="cpu")).fit(interactions)
