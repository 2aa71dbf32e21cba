"""The other models but graphs and VAEs: against figures worked out by hand, slowly, or by another library."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from boards import checkerboard, histories_of, interactions_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file
from scipy import sparse

from hybridvae.errors import HybridVAEError
from hybridvae.models import Context, content, create, itemknn, load


def fitted(name, interactions, **block):
    return create(name, block, Context(seed=1)).fit(interactions)


def random_board(users, items, share=0.4):
    return (np.random.default_rng(3).random((users, items)) < share).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "block", "words"),
    [
        ("svd", {"n_factors": 0}, "a whole number from 1 to"),
        ("svd", {"learning_rate": 0}, "learning_rate is 0: it must be a number above 0"),
        ("ials", {"iterations": 0}, "a whole number from 1 to"),
        ("ials", {"alpha": -1}, "must be a number above 0"),
        ("ease", {"regularization": 0}, "must be a number above 0"),
        ("content", {"k": -1}, "k is -1: it must be a whole number from 0 to"),
    ],
)
def test_wrong_values_are_refused_in_words(name, block, words):
    with pytest.raises(HybridVAEError, match=words):
        create(name, block, Context())


# --- popularity and Item-KNN ---------------------------------------------------------------------


def test_popularity_counts_positives():
    assert fitted("popularity", interactions_of([[1, 0, 1], [1, 0, 0]])).scores(np.array([0])).tolist() == [[2, 0, 1]]


def test_itemknn_by_hand():
    # Items 0 and 1 share one of their 2 and 1 users: 1 / sqrt(2); items 0 and 2 share none.
    scores = fitted("itemknn", interactions_of([[1, 1, 0], [1, 0, 0], [0, 0, 1]])).scores(np.array([1]))
    np.testing.assert_allclose(scores, [[0, 1 / np.sqrt(2), 0]], rtol=1e-6)
    shrunk = fitted("itemknn", interactions_of([[1, 1, 0], [1, 0, 0], [0, 0, 1]]), shrink=1.0)
    np.testing.assert_allclose(shrunk.scores(np.array([1])), [[0, 1 / (1 + np.sqrt(2)), 0]], rtol=1e-6)


def test_itemknn_keeps_k_neighbours_of_each_item():
    model = fitted("itemknn", interactions_of(np.ones((4, 9))), k=3)
    assert np.diff(model.similarity.indptr).tolist() == [3] * 9


def test_itemknn_neighbours_of_the_history_or_of_the_scored_item():
    # Cosines: items 0 and 1 share all users (1), 2 shares one of its two with each (1 / 2); with k = 1
    # item 2 names item 0, and neither 0 nor 1 names item 2.
    board = [[1, 1, 0], [1, 1, 1], [0, 0, 1]]
    history = fitted("itemknn", interactions_of(board), k=1)
    scored = fitted("itemknn", interactions_of(board), k=1, neighbours_of="scored")
    np.testing.assert_allclose(history.scores_of(sparse.csr_matrix([[0, 0, 1.0]])), [[0.5, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(scored.scores_of(sparse.csr_matrix([[0, 0, 1.0]])), [[0, 0, 0]])
    np.testing.assert_allclose(scored.scores_of(sparse.csr_matrix([[1.0, 0, 0]])), [[0, 1, 0.5]], rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    board=arrays(np.float32, (7, 11), elements=st.sampled_from([0.0, 0.0, 1.0])),
    k=st.integers(1, 12),
    shrink=st.sampled_from([0.0, 1.5]),
)
def test_itemknn_in_blocks_is_what_all_pairs_at_once_give(board, k, shrink):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(itemknn, "_BLOCK", 13)  # a row or two at a time
        model = fitted("itemknn", interactions_of(board), k=k, shrink=shrink)
    lengths = np.sqrt(board.sum(axis=0), dtype=np.float32)
    below = np.outer(lengths, lengths) + np.float32(shrink)
    similar = np.divide(board.T @ board, below, out=np.zeros_like(below), where=below > 0)
    np.fill_diagonal(similar, 0)
    columns = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    expected = np.zeros_like(similar)
    np.put_along_axis(expected, columns, np.take_along_axis(similar, columns, axis=1), axis=1)
    assert np.array_equal(model.similarity.toarray(), expected)
    assert model.similarity.has_sorted_indices and np.all(model.similarity.data > 0)


# --- EASE ----------------------------------------------------------------------------------------


def test_ease_by_hand():
    # One user likes both items: X'X + 1 = [[2, 1], [1, 2]], P = [[2, -1], [-1, 2]] / 3, B = [[0, 1/2], [1/2, 0]].
    model = fitted("ease", interactions_of([[1, 1]]), regularization=1.0)
    np.testing.assert_allclose(model.scores_of(sparse.identity(2, "f", "csr")), [[0, 0.5], [0.5, 0]], rtol=1e-6)
    np.testing.assert_allclose(model.scores(np.array([0])), [[0.5, 0.5]], rtol=1e-6)


def test_ease_counts_an_item_by_its_age():
    # The same B for two items apart: a score is the half of what the other one counts.
    model = fitted("ease", interactions_of([[1, 1]]), regularization=1.0, recency=2.0)
    np.testing.assert_allclose(model.scores(np.array([0])), [[0.5, 0.125]], rtol=1e-6)


def test_ease_is_the_dense_formula_and_no_item_speaks_for_itself():
    board = random_board(60, 25)
    board[:, 7] = 0
    model = fitted("ease", interactions_of(board), regularization=3.0)
    dense = board.astype(np.float64)
    inverse = np.linalg.inv(dense.T @ dense + 3.0 * np.eye(25))
    weights = np.eye(25) - inverse @ np.diag(1 / np.diag(inverse))
    np.testing.assert_allclose(model.scores(np.arange(60)), dense @ weights, rtol=1e-4, atol=1e-6)
    assert not model.scores_of(sparse.identity(25, "f", "csr")).diagonal().any()


def test_ease_saves_one_triangle(tmp_path):
    interactions = interactions_of(random_board(60, 25))
    model = fitted("ease", interactions, regularization=3.0)
    model.save(tmp_path)
    assert {name: values.shape for name, values in load_file(tmp_path / "model.safetensors").items()} == {
        "triangle": (25 * 26 // 2,)
    }
    again = load("ease", tmp_path, interactions, Context())
    assert model.scores(np.arange(60)).tobytes() == again.scores(np.arange(60)).tobytes()


def dense_ease(gram, regularization):
    inverse = np.linalg.inv(gram + regularization * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("form", ["collective", "additive", "cosine"])
def test_ease_with_text_is_the_dense_formula(form, tmp_path):
    board = random_board(30, 20)
    board[4] = 0
    interactions = interactions_of(board)
    text, weight = interactions.item_vectors.astype(float), 0.7
    block = {"regularization": 3.0, "form": form, "text_weight": weight, "text_regularization": 2.0, "whitening": 0.0}
    model = fitted("ease_text", interactions, **block)
    if form == "collective":
        expected = board @ dense_ease(board.T @ board + weight * text @ text.T, 3.0)
    elif form == "additive":
        expected = board @ (dense_ease(board.T @ board, 3.0) + weight * dense_ease(text @ text.T, 2.0))
    else:
        means = (board @ text) / np.maximum(np.linalg.norm(board @ text, axis=1, keepdims=True), 1e-9)
        expected = board @ dense_ease(board.T @ board, 3.0) + weight * means @ text.T
    np.testing.assert_allclose(model.scores(np.arange(30)), expected, atol=2e-5)
    model.save(tmp_path)
    again = load("ease_text", tmp_path, interactions, Context())
    assert np.array_equal(again.scores(np.arange(30)), model.scores(np.arange(30)))


@pytest.mark.parametrize("form", ["collective", "additive", "cosine"])
def test_ease_with_text_of_no_weight_is_ease(form):
    interactions = interactions_of(random_board(30, 20))
    plain = fitted("ease", interactions, regularization=3.0, recency=0.5)
    model = fitted("ease_text", interactions, regularization=3.0, recency=0.5, form=form, text_weight=0.0)
    np.testing.assert_allclose(model.scores(np.arange(30)), plain.scores(np.arange(30)), atol=1e-6)


def test_ease_with_text_knows_an_item_that_nobody_has():
    board = random_board(30, 20)
    board[:, 6] = 0
    model = fitted("ease_text", interactions_of(board), form="collective", text_weight=50.0, whitening=0.0)
    scores = model.scores(np.arange(30))
    evens = board[:, ::2].mean(axis=1) - board[:, 1::2].mean(axis=1)  # item 6 is even, and its vector says so
    assert np.corrcoef(scores[:, 6], evens)[0, 1] > 0.5
    with pytest.raises(HybridVAEError, match="ease_text reads text embeddings: fit it with item vectors"):
        fitted("ease_text", replace(interactions_of(board), item_vectors=None))


def test_ease_without_an_inverse_says_what_to_do():
    with pytest.raises(HybridVAEError, match=r"no inverse .* raise ease\.regularization"):
        fitted("ease", interactions_of([[1, 1]]), regularization=1e-30)


# --- content -------------------------------------------------------------------------------------


def with_vectors(board, vectors):
    return replace(interactions_of(board), item_vectors=np.array(vectors, dtype=np.float32))


@pytest.mark.parametrize(
    ("k", "expected"),
    [(1, [1, 0.8, 1, 1]), (2, [1, 1.4, 1, 1]), (3, [0, 0.8, 1, 0]), (9, [0, 0.8, 1, 0]), (0, [0, 0.8, 1, 0])],
)
def test_content_sums_the_k_nearest_of_the_history(k, expected):
    # Cosines of the history's items 0, 2, 3 to item 0: 1, 0, -1; to 1: 0.6, 0.8, -0.6; to 2: 0, 1, 0; to 3: -1, 0, 1.
    interactions = with_vectors([[1, 0, 1, 1], [0, 0, 0, 0]], [[2, 0], [0.3, 0.4], [0, 1], [-1, 0]])
    scores = fitted("content", interactions, k=k).scores(np.array([0, 1]))
    np.testing.assert_allclose(scores, [expected, [0, 0, 0, 0]], atol=1e-6)


def test_content_may_take_off_the_mean_vector():
    # The mean is (2, 2): what is left is (1, -1), (-1, 1) and nothing.
    interactions = with_vectors([[1, 0, 0]], [[3, 1], [1, 3], [2, 2]])
    np.testing.assert_allclose(fitted("content", interactions, centred=True).scores(np.array([0])), [[1, -1, 0]])
    plain = fitted("content", interactions).scores(np.array([0]))
    np.testing.assert_allclose(plain, [[1, 0.6, 2 / np.sqrt(5)]], rtol=1e-6)


def test_content_knows_no_popularity():
    board = checkerboard()
    others_gone = board * (np.arange(20) == 0)[:, None]
    first, second = (
        fitted("content", interactions_of(rows), k=3).scores(np.array([0])) for rows in (board, others_gone)
    )
    assert np.array_equal(first, second)


def test_content_scores_the_same_in_small_blocks(monkeypatch):
    model = fitted("content", interactions_of(random_board(30, 20)), k=2)
    whole = model.scores(np.arange(30))
    monkeypatch.setattr(content, "_BLOCK", 100)  # five rows at a time, fewer than most histories have
    np.testing.assert_allclose(model.scores(np.arange(30)), whole, rtol=1e-5, atol=1e-6)


def test_content_without_vectors_says_so():
    with pytest.raises(HybridVAEError, match="item vectors"):
        fitted("content", replace(interactions_of(checkerboard()), item_vectors=None))


def test_text_that_is_not_there_is_near_to_nothing():
    interactions = interactions_of(np.eye(30))
    vectors = np.random.default_rng(0).normal(size=(30, 384)).astype("f")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[-1] = vectors[:-1].mean(axis=0, dtype=np.float64)  # as embed_texts gives an item without text
    model = create("content", {"centred": True}, Context()).fit(replace(interactions, item_vectors=vectors))
    assert not model.scores(np.array([29])).any()
    scores = model.scores(np.array([0]))[0]
    assert scores[0] == pytest.approx(1) and scores[29] == 0 and np.count_nonzero(scores) == 29


# --- iALS ----------------------------------------------------------------------------------------


def least_squares(factors, rows, regularization, alpha):
    """Eq. 4 of Hu et al. in float64: for each row of a 0/1 matrix, (Y'CY + lambda 1)^-1 Y'C p with C = 1 + alpha p."""
    factors = factors.astype(np.float64)
    solved = []
    for row in rows.astype(np.float64):
        weighted = factors.T * (1 + alpha * row)
        solved.append(np.linalg.solve(weighted @ factors + regularization * np.eye(factors.shape[1]), weighted @ row))
    return np.array(solved)


def test_ials_answers_a_history_by_least_squares():
    board = random_board(30, 20)
    board[4] = 0
    model = fitted("ials", interactions_of(board), factors=5, regularization=0.5, alpha=4.0)
    expected = least_squares(model.item_factors, board, 0.5, 4.0) @ model.item_factors.T
    np.testing.assert_allclose(model.scores_of(sparse.csr_matrix(board)), expected, rtol=1e-3, atol=1e-5)
    aged = histories_of(board)
    model = fitted("ials", interactions_of(board), factors=5, regularization=0.5, alpha=4.0, recency=1.0)
    rows = [
        least_squares(model.item_factors, liked[None], 0.5, 4.0 * np.divide(1, ages, where=ages > 0, out=ages.copy()))
        for liked, ages in zip(board, aged.toarray(), strict=True)
    ]
    np.testing.assert_allclose(model.scores_of(aged), np.vstack(rows) @ model.item_factors.T, rtol=1e-3, atol=1e-5)


def test_ials_item_factors_are_the_answer_to_the_user_factors():
    board = random_board(30, 20)
    model = fitted("ials", interactions_of(board), factors=3, regularization=0.5, alpha=4.0, iterations=500)
    users = least_squares(model.item_factors, board, 0.5, 4.0)
    np.testing.assert_allclose(least_squares(users, board.T, 0.5, 4.0), model.item_factors, atol=1e-3)


def test_ials_is_quiet_where_blas_has_threads():
    # In a process of its own: implicit warns once, and only of the libraries that are loaded by then.
    program = """
from types import SimpleNamespace
from scipy import sparse
from hybridvae.models import Context, create
ones = sparse.eye(9, format="csr", dtype="f")
known = SimpleNamespace(positives=ones, histories=ones, n_users=9, n_items=9)
create("ials", {}, Context()).fit(known).scores([0])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- SVD -----------------------------------------------------------------------------------------


def test_svd_predicts_what_surprise_predicts():
    from surprise import SVD, Dataset, Reader

    ratings = np.random.default_rng(5).integers(0, 6, size=(12, 7)).astype(np.float32)
    ratings[0] = [5, 1, 3, 2, 4, 5, 0]  # surprise numbers items as they come, so the first user rates them in order,
    ratings[:, 6] = 0  # and the one that nobody rates is the last
    interactions = replace(interactions_of(ratings > 3), ratings=sparse.csr_matrix(ratings))
    model = fitted("svd", interactions, n_factors=4, n_epochs=30, learning_rate=0.02, regularization=0.1)
    users, items = np.nonzero(ratings)
    rows = pd.DataFrame({"user": users, "item": items, "rating": ratings[users, items]})
    theirs = SVD(n_factors=4, n_epochs=30, lr_all=0.02, reg_all=0.1, random_state=model.seed)
    theirs.fit(Dataset.load_from_df(rows, Reader(rating_scale=(1, 5))).build_full_trainset())
    expected = [[theirs.predict(user, item, clip=False).est for item in range(7)] for user in range(12)]
    np.testing.assert_allclose(model.scores(np.arange(12)), expected, rtol=1e-5)


def test_svd_learns_from_ratings_and_nothing_from_positives():
    # The half that is not liked is rated 1; the diagonal and one more row and column are not rated.
    liked = checkerboard(21)
    ratings = 5 * liked + (1 - liked)
    np.fill_diagonal(ratings, 0)
    ratings[20], ratings[:, 20] = 0, 0
    interactions = replace(interactions_of(liked), ratings=sparse.csr_matrix(ratings))
    ones = replace(interactions, ratings=(interactions.ratings > 0).astype(np.float32))
    model = fitted("svd", interactions, n_factors=8, n_epochs=100)
    scores = model.scores(np.arange(21))
    assert scores[ratings == 5].min() > scores[ratings == 1].max() + 1
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[20], ratings[ratings > 0].mean() + model.parameters["item_bias"], rtol=1e-6)
    constant = fitted("svd", ones, n_factors=8, n_epochs=100).scores(np.arange(21))
    assert np.abs(constant - 1).max() < 0.2
