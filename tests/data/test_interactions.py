"""Interactions: what does not fit together is refused, and what is derived from them, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from hybridvae.data.interactions import Interactions, ages, by_recency, recency_weights
from hybridvae.errors import BadDataError


def rows(*lines):
    return sparse.csr_matrix(np.array(lines, dtype=np.float32))


def names(*ids):
    return np.array(ids, dtype=object)


def two_users(**changes):
    """Two users of three items: both like the first, the second user likes the third too, and nobody the other."""
    fitting = Interactions(
        positives=rows([1, 0, 0], [1, 0, 1]),
        histories=rows([1, 0, 0], [2, 0, 1]),
        ratings=rows([5, 2, 0], [4, 0, 5]),
        users=names("ann", "bob"),
        items=names("a", "b", "c"),
        titles=names("Anvil", "", "Cup"),
        cold=np.array([0, 0, 0]),
        item_vectors=np.eye(3, 4, dtype=np.float32),
    )
    return replace(fitting, **changes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"positives": rows([1, 0], [1, 0])},
            "interactions: positives is (2, 2) and must be (2, 3): a row a user, a column an item.",
        ),
        (
            {"histories": rows([1, 0, 0])},
            "interactions: histories is (1, 3) and must be (2, 3): a row a user, a column an item.",
        ),
        (
            {"ratings": rows([5, 4], [2, 0], [0, 5])},
            "interactions: ratings is (3, 2) and must be (2, 3): a row a user, a column an item.",
        ),
        ({"titles": names("Anvil", "Cup")}, "interactions: titles has 2 rows for 3 items: give one each."),
        ({"cold": np.zeros(4, dtype=int)}, "interactions: cold has 4 rows for 3 items: give one each."),
        ({"item_vectors": np.eye(2, 4)}, "interactions: item_vectors has 2 rows for 3 items: give one each."),
        (
            {"users": names("ann", "ann")},
            "interactions: users names one of them twice: give each an id of its own.",
        ),
        (
            {"items": names("a", "b", "a")},
            "interactions: items names one of them twice: give each an id of its own.",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(BadDataError) as refused:
        two_users(**change)
    assert str(refused.value) == sentence


def test_more_users_than_rows_are_refused():
    with pytest.raises(BadDataError, match=r"positives is \(2, 3\) and must be \(3, 3\)"):
        two_users(users=names("ann", "bob", "cid"))


def test_vectors_may_be_missing_and_users_too():
    assert two_users(item_vectors=None).item_vectors is None
    catalogue = Interactions.without_users(names("a", "b"), names("Anvil", ""))
    assert (catalogue.n_users, catalogue.n_items) == (0, 2)
    assert catalogue.item_counts.tolist() == [0, 0] and catalogue.warm.tolist() == [True, True]


def test_an_item_counts_its_users_and_not_its_ratings():
    counts = two_users().item_counts
    assert counts.tolist() == [2, 0, 1] and counts.dtype == np.float32


def test_only_a_cold_item_that_nobody_likes_here_is_not_warm():
    # What is known of the first two is said to lie in later parts, but somebody likes the first in what was read.
    assert two_users(cold=np.array([1, 2, 0])).warm.tolist() == [True, False, True]
    nobody = two_users(positives=rows([0, 0, 0], [0, 0, 0]), cold=np.array([1, 2, 0]))
    assert nobody.warm.tolist() == [False, False, True]


def test_ages_by_hand():
    assert ages(np.array([3, 1, 0, 2])).tolist() == [3, 2, 1, 1, 2, 1]
    assert ages(np.array([], dtype=int)).tolist() == []


def test_a_weight_is_the_age_to_the_power_of_minus_recency():
    of_age = np.array([1.0, 2.0, 4.0])
    assert recency_weights(of_age, 1.0).tolist() == [1, 0.5, 0.25]
    assert recency_weights(of_age, 0.5) == pytest.approx([1, 2**-0.5, 0.5])
    assert recency_weights(of_age, 0.0).tolist() == [1, 1, 1]


def test_weights_of_a_tensor_are_those_of_an_array():
    import torch

    assert recency_weights(torch.tensor([1.0, 2.0, 4.0]), 0.5).tolist() == pytest.approx([1, 2**-0.5, 0.5])


def test_what_an_item_counts_by_its_age():
    weights = by_recency(sparse.csr_matrix([[0, 4.0, 1], [2, 0, 0]]), 0.5)
    assert weights.toarray() == pytest.approx(np.array([[0, 0.5, 1], [2**-0.5, 0, 0]]))
    assert (by_recency(weights, 0.0).data == 1).all()


def test_histories_of_whole_numbers_get_weights_in_single_precision_and_stay_as_they_are():
    histories = sparse.csr_matrix(np.array([[0, 2, 1]]))
    assert by_recency(histories, 1.0).dtype == np.float32
    assert histories.toarray().tolist() == [[0, 2, 1]]
