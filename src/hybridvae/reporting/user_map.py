"""The users of an autoencoder on a map: t-SNE (van der Maaten & Hinton 2008) of their latent means."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from hybridvae.arrays import FloatArray
from hybridvae.data.interactions import Interactions
from hybridvae.seeds import derive_seed, random_generator

LatentMeans = Callable[[sparse.csr_matrix], FloatArray]
Places = npt.NDArray[np.floating[Any]]

MOST_USERS = 4000  # more are a cloud that nobody can read, and minutes of work
FEWEST_PLACES = 10  # of fewer that differ, t-SNE shows little but its own chance
_BLOCK = 1024  # users encoded at a time
_ALIKE = 1e-6  # of the largest value: what differs by less differs by rounding
_FEW = (  # by the number of means that differ
    "no user has a history",
    "the latent means of all users are equal:\nthey lie apart only to be seen",
    "principal components of the users' latent means,\ntoo few for t-SNE: near is alike",
)


def users_map(latent_means: LatentMeans, interactions: Interactions, *, seed: int) -> tuple[pd.DataFrame, str]:
    """Where the users with a history lie, MOST_USERS of them at most, drawn by the seed.

    Fewer than FEWEST_PLACES latent means that differ are no food for t-SNE, which on equal ones ends the process. They
    are shown by their two principal components, and users whose means are equal side by side.

    Args:
        latent_means: (B, I) histories -> (B, L), as an autoencoder's `latent_means` gives them.

    Returns:
        Columns x, y, activity (their number of positives); and what the map shows, in words.
    """
    lengths = np.diff(interactions.positives.indptr)
    users = np.flatnonzero(lengths)
    if len(users) > MOST_USERS:
        drawn = random_generator(seed, "latent", "users").choice(users, MOST_USERS, replace=False)
        users = np.sort(drawn)
    histories = interactions.histories
    blocks = [latent_means(histories[users[at : at + _BLOCK]]) for at in range(0, len(users), _BLOCK)]
    means = np.concatenate(blocks) if blocks else np.zeros((0, 2), dtype=np.float32)
    distinct, which = _distinct(means)
    places: Places
    if len(distinct) < FEWEST_PLACES:
        few = _principal_places(distinct)
        places, shows = few[which] + _side_by_side(few, which), _FEW[min(len(distinct), 2)]
        if len(users) == 1:
            shows = "one user alone, near to nobody"
    else:
        places, shows = _tsne_places(means, seed), "t-SNE of the users' latent means: near is alike"
    return pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "activity": lengths[users]}), shows


def _tsne_places(means: FloatArray, seed: int) -> Places:
    from sklearn.manifold import TSNE  # takes seconds

    perplexity = min(30.0, max(1.0, (len(means) - 1) / 4))
    start = "pca" if means.shape[1] > 1 else "random"
    tsne = TSNE(perplexity=perplexity, init=start, random_state=derive_seed(seed, "latent", "t-SNE") % 2**32)
    with threadpool_limits(1):  # sums in one order give the same picture everywhere
        places: Places = tsne.fit_transform(means)
    return places


def _distinct(means: FloatArray) -> tuple[Places, npt.NDArray[np.intp]]:
    """The means that differ (P, L), and for each user which is the own one (U,)."""
    largest = np.abs(means).max(initial=0.0)
    steps = np.round(means.astype(np.float64) / max(_ALIKE * largest, np.finfo(np.float32).tiny))
    _, first, which = np.unique(steps, axis=0, return_index=True, return_inverse=True)
    return means[first].astype(np.float64), which.reshape(-1)


def _principal_places(means: Places) -> Places:
    """(P, L) -> (P, 2): the first two principal components, within 1 of the middle; the largest of each is positive."""
    centred = means - means.mean(axis=0) if len(means) else means
    left, widths, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(means), 2))
    kept = (left * widths)[:, :2]
    places[:, : kept.shape[1]] = kept
    for column in range(2 if len(means) else 0):
        if places[np.abs(places[:, column]).argmax(), column] < 0:
            places[:, column] *= -1
    widest = np.abs(places).max(initial=0.0)
    return places / widest if widest > 0 else places


def _side_by_side(places: Places, which: npt.NDArray[np.intp]) -> Places:
    """(U, 2) shifts from the (P, 2) places, which lay the users of one place out as a sunflower does its seeds."""
    shifts: Places = np.zeros((len(which), 2))
    sizes = np.bincount(which, minlength=len(places))
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    widest = 0.35 * apart[apart > 0].min(initial=1.0)
    for place in np.flatnonzero(sizes > 1):
        seeds = np.arange(sizes[place])
        radius, angle = widest * np.sqrt(seeds / sizes.max()), seeds * np.pi * (3 - np.sqrt(5))
        shifts[which == place] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return shifts
