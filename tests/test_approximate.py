"""Lists that are searched for: nearly those of scoring all items, and never what was seen."""

import sys

import numpy as np
import pytest
from fastapi.testclient import TestClient
from scipy import sparse

from hybridvae.approximate import Index, is_by_product
from hybridvae.data.interactions import Interactions
from hybridvae.errors import BadParameterError, NotEnoughMemoryError
from hybridvae.models import Context, create, hybridvae
from hybridvae.recommendations import Recommendations, best
from hybridvae.service import read_engine
from hybridvae.service.app import create_app

ITEMS, WIDTH = 20_000, 32


class Drawn:
    """A model of random vectors, of which some are three times as long as others."""

    folds_in = True
    by_product = True

    def __init__(self):
        random = np.random.default_rng(3)
        lengths = np.exp(random.uniform(0, 1.1, (ITEMS, 1)))
        self.items = (random.standard_normal((ITEMS, WIDTH)) * lengths).astype(np.float32)

    def vectors_of_items(self):
        return self.items

    def queries(self, histories):
        return np.asarray(histories @ self.items)

    def scores_of(self, histories):
        return self.queries(histories) @ self.items.T


@pytest.fixture(scope="module")
def shop():
    names = np.array([str(n) for n in range(ITEMS)], dtype=object)
    return Recommendations("drawn", Drawn(), Interactions.without_users(names, names))


@pytest.fixture(scope="module")
def index(shop):
    pytest.importorskip("faiss")
    return Index(shop)


def histories_of(rows, length, seed=0):
    random = np.random.default_rng(seed)
    items = np.concatenate([random.choice(ITEMS, length, replace=False) for _ in range(rows)])
    ages = np.tile(np.arange(1, length + 1, dtype=np.float32), rows)
    return sparse.csr_matrix((ages, items, np.arange(rows + 1) * length), shape=(rows, ITEMS))


@pytest.mark.parametrize("length", [1, 5, 500])
def test_nearly_all_of_the_best_are_found_with_their_scores_and_nothing_seen(shop, index, length):
    histories = histories_of(50, length)
    exact = shop.for_histories(histories, 100)
    found = index.best(histories, 100, seen=histories)
    assert found.items.shape == (50, 100) and (np.diff(found.scores, axis=1) <= 0).all()
    rows = range(len(found.items))
    assert np.mean([len(np.intersect1d(found.items[row], exact.items[row])) / 100 for row in rows]) >= 0.95
    for row in rows:
        assert len(set(found.items[row])) == 100
        assert not np.isin(found.items[row], histories[[row]].indices).any()
    scores = np.take_along_axis(shop.model.scores_of(histories), found.items, axis=1)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-3)


def test_where_too_little_is_found_all_are_scored(shop, index, monkeypatch):
    histories, seen = histories_of(2, 3), histories_of(2, ITEMS - 5, seed=1)
    found, exact = index.best(histories, 10, seen=seen), best(shop.model.scores_of(histories), 10, seen=seen)
    assert np.array_equal(found.items, exact.items) and (found.items >= 0).sum() == 10

    class Blind:
        def search(self, queries, wanted):
            return np.full((len(queries), wanted), -1e30, "f"), np.full((len(queries), wanted), -1)

    monkeypatch.setattr(index, "_index", Blind())
    found = index.best(histories, 10, seen=histories)
    assert np.array_equal(found.items, shop.for_histories(histories, 10).items)


def test_what_cannot_be_searched_is_said(shop, monkeypatch):
    other = Recommendations("ease", create("ease", {}, Context()), shop.known)
    with pytest.raises(BadParameterError, match=r"^ease cannot be searched approximately.*leave out --approximate"):
        Index(other)
    monkeypatch.setattr(shop.model, "by_product", False)
    assert not is_by_product(shop)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(BadParameterError, match=r"faiss.* not installed: run `pip install 'hybridvae\[ann\]'`"):
        Index(shop)


def test_an_index_without_room_is_said(shop, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setenv("HYBRIDVAE_MEMORY", "0.1")
    with pytest.raises(NotEnoughMemoryError, match=r"approximate search needs about .*: leave out --approximate"):
        Index(shop)


@pytest.fixture
def without_ease(monkeypatch):
    """HybridVAE as it is where EASE was left out."""
    take = hybridvae.Model.take

    def alone(self, tensors, interactions):
        take(self, tensors, interactions)
        self.weight, self.ease = 0.0, None

    monkeypatch.setattr(hybridvae.Model, "take", alone)


def test_the_product_is_the_score_without_ease_and_not_with_it(done, without_ease):
    shop = read_engine(done.folder, model="hybridvae").load("hybridvae").recommendations
    model, histories = shop.model, shop.known.histories[:8]
    assert is_by_product(shop)
    product = model.queries(histories) @ model.vectors_of_items().T
    np.testing.assert_allclose(product, model.scores_of(histories), rtol=1e-4, atol=1e-5)
    model.weight, model.ease = 0.1, object()
    assert not is_by_product(shop), "EASE's scores are added"


def test_the_service_searches_where_it_is_told_to(done, without_ease):
    pytest.importorskip("faiss")
    exact, searched = (read_engine(done.folder, model="hybridvae", approximate=on) for on in (False, True))
    assert exact.load("hybridvae")._index is None and searched.load("hybridvae")._index is not None
    assert searched.load("itemknn")._index is None, "others score all items"
    for body in ({"user_id": "u003", "top_k": 5}, {"history": ["i001", "i004"], "top_k": 5, "because": True}):
        one, two = (TestClient(create_app(engine)).post("/recommend", json=body).json() for engine in (exact, searched))
        assert [entry["item_id"] for entry in one["recommendations"]] == [
            entry["item_id"] for entry in two["recommendations"]
        ]
    with pytest.raises(BadParameterError, match="itemknn cannot be searched approximately"):
        read_engine(done.folder, model="itemknn", approximate=True)
