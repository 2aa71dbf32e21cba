"""Interactions: what does not fit together is refused, and what is derived from them, by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hybridvae.data.interactions import Interactions, ages, by_recency, read_interactions, recency_weights
from hybridvae.errors import BadDataError, UnreadableFileError


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


def split_by_hand(folder):
    """In the order of time Ann rates c, a, which she does not like, and b, Bob a and c, and Cid nothing."""
    columns = ["user_index", "item_index", "rating", "positive", "part", "position"]
    parts = {
        "fit": [(0, 2, 5.0, True, 0, 0), (0, 0, 2.0, False, 1, 1), (1, 0, 4.0, True, 0, 0)],
        "test": [(0, 1, 4.0, True, 2, 2), (1, 2, 5.0, True, 2, 1)],
    }
    for part, lines in parts.items():
        (folder / part).mkdir()
        pd.DataFrame(lines, columns=columns).to_parquet(folder / part / "rows.parquet")
    pd.DataFrame({"user_id": ["ann", "bob", "cid"]}).to_parquet(folder / "fit/users.parquet")
    items = pd.DataFrame({"item_id": ["a", "b", "c"], "title": ["Anvil", "", "Cup"], "cold": [0, 0, 0]})
    items.to_parquet(folder / "fit/items.parquet")
    return folder / "fit", folder / "test"


@pytest.mark.parametrize(
    ("upto", "histories", "ratings"),
    [
        ("train", [[0, 0, 1], [1, 0, 0], [0, 0, 0]], [[0, 0, 5], [4, 0, 0], [0, 0, 0]]),
        ("validation", [[0, 0, 1], [1, 0, 0], [0, 0, 0]], [[2, 0, 5], [4, 0, 0], [0, 0, 0]]),
        ("test", [[0, 1, 2], [2, 0, 1], [0, 0, 0]], [[2, 4, 5], [4, 0, 5], [0, 0, 0]]),
    ],
)
def test_rows_of_the_parts_become_matrices_by_hand(upto, histories, ratings, tmp_path):
    fit, test = split_by_hand(tmp_path)
    read = read_interactions(fit, *([test] if upto == "test" else []), upto=upto)
    assert read.histories.toarray().tolist() == histories and read.ratings.toarray().tolist() == ratings
    assert read.positives.toarray().tolist() == (np.array(histories) > 0).tolist()
    assert read.positives.dtype == read.histories.dtype == read.ratings.dtype == np.float32
    assert read.histories.has_sorted_indices and read.ratings.has_sorted_indices


def test_rows_in_another_order_or_without_a_column_are_refused_and_no_rows_are_none(tmp_path):
    fit, _ = split_by_hand(tmp_path)
    rows = pd.read_parquet(fit / "rows.parquet")
    rows.iloc[:0].to_parquet(fit / "rows.parquet")
    assert read_interactions(fit, upto="train").ratings.nnz == 0
    for order in [2, 0, 1], [1, 0, 2]:
        rows.iloc[order].to_parquet(fit / "rows.parquet")
        with pytest.raises(UnreadableFileError, match=r"rows\.parquet is not in the order of users and time: run `dvc"):
            read_interactions(fit, upto="validation")
    rows.drop(columns="rating").to_parquet(fit / "rows.parquet")
    with pytest.raises(UnreadableFileError, match=r"rows\.parquet cannot be read \(it has no column rating\)"):
        read_interactions(fit, upto="train")


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
