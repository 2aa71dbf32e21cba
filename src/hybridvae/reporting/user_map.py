"""The users of an autoencoder on a map: t-SNE (van der Maaten & Hinton 2008) of their latent means."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from hybridvae.arrays import FloatArray
from hybridvae.data.interactions import Interactions
from hybridvae.seeds import derive_seed, random_generator

LatentMeans = Callable[[sparse.csr_matrix], FloatArray]

MOST_USERS = 4000  # more are a cloud that nobody can read, and minutes of work
_BLOCK = 1024  # users encoded at a time


def users_map(latent_means: LatentMeans, interactions: Interactions, *, seed: int) -> pd.DataFrame:
    """Where the users with a history lie, MOST_USERS of them at most, drawn by the seed.

    Args:
        latent_means: (B, I) histories -> (B, L), as an autoencoder's `latent_means` gives them.

    Returns:
        Columns x, y, activity (their number of positives).
    """
    from sklearn.manifold import TSNE  # takes seconds

    lengths = np.diff(interactions.positives.indptr)
    users = np.flatnonzero(lengths)
    if len(users) > MOST_USERS:
        drawn = random_generator(seed, "latent", "users").choice(users, MOST_USERS, replace=False)
        users = np.sort(drawn)
    histories = interactions.histories
    blocks = [latent_means(histories[users[at : at + _BLOCK]]) for at in range(0, len(users), _BLOCK)]
    means = np.concatenate(blocks)
    perplexity = min(30.0, max(1.0, (len(users) - 1) / 4))
    start = "pca" if means.shape[1] > 1 else "random"
    tsne = TSNE(perplexity=perplexity, init=start, random_state=derive_seed(seed, "latent", "t-SNE") % 2**32)
    with threadpool_limits(1):  # sums in one order give the same picture everywhere
        places = tsne.fit_transform(means)
    return pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "activity": lengths[users]})
