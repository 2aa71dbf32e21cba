"""The map of users: where they lie, however few or alike they are."""

import numpy as np
import pytest
from scipy import sparse

from hybridvae.data.interactions import Interactions
from hybridvae.reporting import figures
from hybridvae.reporting.user_map import users_map

ITEMS = 30
WEIGHTS = np.random.default_rng(1).normal(size=(ITEMS, 6)).astype(np.float32)


def of_histories(*histories):
    """Users who like these items."""
    matrix = sparse.lil_matrix((len(histories), ITEMS), dtype=np.float32)
    for user, items in enumerate(histories):
        matrix[user, list(items)] = 1
    matrix = sparse.csr_matrix(matrix)
    users, items = (np.array([f"{number}" for number in range(size)], dtype=object) for size in matrix.shape)
    return Interactions(matrix, matrix, matrix, users, items, items, np.zeros(ITEMS, dtype=np.int64))


def latent_means(histories):
    return np.asarray(histories @ WEIGHTS, dtype=np.float32)


def drawn(interactions, means=latent_means):
    places, shows = users_map(means, interactions, seed=1)
    assert np.isfinite(places[["x", "y"]]).all(axis=None) and len(places) == interactions.n_users
    assert figures.svg(figures.users(places, shows=shows, title="users"))
    return places, shows


def different(users):
    return of_histories(*(range(user, user + 3 + user % 4) for user in range(users)))


@pytest.mark.parametrize("users", [0, 1, 2, 3, 4, 5, 9])
def test_few_users_are_drawn_without_t_sne(users):
    places, shows = drawn(different(users))
    assert "t-SNE:" not in shows.replace("too few for t-SNE:", "") and len(places.drop_duplicates(["x", "y"])) == users
    assert places.equals(drawn(different(users))[0])


def test_more_are_mapped_by_t_sne():
    places, shows = drawn(different(12))
    assert shows == "t-SNE of the users' latent means: near is alike" and places["activity"].tolist()[:5] == [
        3,
        4,
        5,
        6,
        3,
    ]


@pytest.mark.parametrize("users", [2, 12, 200])
def test_users_of_one_history_lie_side_by_side(users):
    places, shows = drawn(of_histories(*[range(5)] * users))
    assert shows.startswith("the latent means of all users are equal")
    assert len(places.drop_duplicates(["x", "y"])) == users and (places[["x", "y"]].abs() < 0.36).all(axis=None)


@pytest.mark.parametrize("size", [0.0, 1e-42, 1e-30, 1.0, 1e30])
def test_means_that_differ_by_rounding_alone_are_equal(size):
    noise = np.random.default_rng(0).normal(size=(50, 6))
    means = (size * (1 + 1e-8 * noise)).astype(np.float32)
    assert "are equal" in drawn(different(25), lambda histories: means[: histories.shape[0]])[1]


def test_users_in_groups_lie_around_the_place_of_their_group():
    """Three means on a line, at 0, 1 and 4: the middle is 5/3, the widest 7/3 away, so they lie at -5/7, -2/7 and 1."""
    line = np.array([0, 0, 1, 1, 1, 4], dtype=np.float32)[:, None]
    places, shows = drawn(different(6), lambda histories: line)
    assert "principal components" in shows
    x = places["x"].to_numpy()
    for users, middle in (((0, 1), -5 / 7), ((2, 3, 4), -2 / 7), ((5,), 1)):
        near = 0.35 * 3 / 7  # of the least distance between two places
        assert x[users[0]] == pytest.approx(middle) and all(abs(x[user] - middle) < near for user in users)
