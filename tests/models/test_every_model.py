"""What every model must do."""

from dataclasses import replace

import numpy as np
import pytest
from boards import checkerboard, fitted, interactions_of
from conftest import ROOT
from scipy import sparse

from hybridvae.errors import HybridVAEError
from hybridvae.models import Context, create, load

ALL = sorted(path.stem for path in (ROOT / "src/hybridvae/models").glob("[!_]*.py"))


@pytest.mark.parametrize("name", [name for name in ALL if name != "popularity"])
def test_the_withheld_diagonal_is_recommended(name):
    board = checkerboard()
    ratings = 5 * board + (1 - board)  # what is not liked is disliked, for models that read ratings
    np.fill_diagonal(ratings, 0)
    # For models that read the order: users go round the board, and what is withheld would be next.
    ages = board * (np.subtract.outer(np.arange(20), np.arange(20)) % 20 / 2)
    order, ratings = (sparse.csr_matrix(matrix.astype("f")) for matrix in (ages, ratings))
    interactions = replace(interactions_of(board), histories=order, ratings=ratings)
    scores = fitted(name, interactions).scores(np.arange(20))
    scores[board > 0] = -np.inf
    assert (scores.argmax(axis=1) == np.arange(20)).all()


@pytest.mark.parametrize("name", ALL)
def test_a_batch_is_the_same_as_one_by_one(name):
    model = fitted(name, interactions_of(checkerboard()))
    users = np.array([3, 0, 7])
    together = model.scores(users)
    assert together.dtype == np.float32 and together.shape == (3, 20)
    for row, user in enumerate(users):
        np.testing.assert_allclose(together[row], model.scores(np.array([user]))[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_scores_are_equal_and_no_history_is_stored(name, tmp_path):
    interactions = interactions_of(checkerboard())
    model = fitted(name, interactions)
    model.save(tmp_path)
    again = load(name, tmp_path, interactions, Context(device="cpu"))
    assert np.array_equal(model.scores(np.arange(20)), again.scores(np.arange(20)))
    assert {path.suffix for path in tmp_path.iterdir()} <= {".safetensors", ".json"}


@pytest.mark.parametrize("name", ALL)
def test_a_user_without_history_gets_finite_scores(name):
    board = checkerboard()
    board[4] = 0
    assert np.isfinite(fitted(name, interactions_of(board)).scores(np.array([4, 5]))).all()


@pytest.mark.parametrize("name", ALL)
def test_a_model_that_folds_in_scores_a_new_history_like_a_known_one(name):
    interactions = interactions_of(checkerboard())
    model = fitted(name, interactions)
    if not model.folds_in:
        assert not hasattr(model, "scores_of")
        return
    np.testing.assert_allclose(model.scores_of(interactions.histories[[2]]), model.scores(np.array([2])), atol=1e-6)


@pytest.mark.parametrize(
    "name", ["content", "itemknn", "ease", "ease_text", "ials", "alpharec", "multvae", "hybridvae"]
)
def test_recency_asks_for_the_order_of_a_history(name, tmp_path):
    interactions = interactions_of(np.random.default_rng(0).random((20, 20)) < 0.4)
    model = fitted(name, interactions, recency=1.0)
    latest, first = (interactions.histories[[2]] for _ in range(2))
    first.data = first.data[::-1].copy()
    unordered = interactions.positives[[2]]
    assert not np.allclose(model.scores_of(latest), model.scores_of(first), rtol=1e-3)
    plain = fitted(name, interactions)
    np.testing.assert_allclose(model.scores_of(unordered), plain.scores_of(unordered), rtol=1e-5)
    np.testing.assert_allclose(plain.scores_of(latest), plain.scores_of(first), rtol=1e-4, atol=1e-6)
    model.save(tmp_path)
    again = load(name, tmp_path, interactions, Context(device="cpu"))
    assert np.array_equal(again.scores(np.array([2])), model.scores(np.array([2])))


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_bytes(name):
    interactions = interactions_of(checkerboard())
    first, second = (fitted(name, interactions).scores(np.arange(20)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("name", ALL)
def test_unknown_keys_are_refused(name):
    with pytest.raises(HybridVAEError, match=rf"{name}\.colour is not a parameter"):
        create(name, {"colour": "blue"}, Context())


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(HybridVAEError, match=", ".join(ALL)):
        create("magic", {}, Context())
