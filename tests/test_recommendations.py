"""Lists of recommendations: for known users, for new histories, and why."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from projects import Project
from scipy import sparse

from hybridvae import load_model
from hybridvae.config import parse_config
from hybridvae.data.interactions import read_interactions
from hybridvae.errors import BadParameterError, HybridVAEError
from hybridvae.recommendations import Recommendations, RecommendConfig, best, write_lists


def rows(*lines):
    return sparse.csr_matrix(np.array(lines, dtype=np.float32))


def test_the_best_are_ordered_and_ties_go_to_the_lower_index():
    lists = best(np.array([[0.5, 0.9, 0.5, 0.1]]), 3)
    assert lists.items.tolist() == [[1, 0, 2]] and np.allclose(lists.scores, [[0.9, 0.5, 0.5]])


def test_what_was_seen_or_excluded_is_left_out_and_missing_places_say_so():
    lists = best(np.ones((2, 4)), 3, seen=rows([1, 0, 0, 0], [1, 1, 1, 0]), exclude=np.array([2]))
    assert lists.items.tolist() == [[1, 3, -1], [3, -1, -1]]
    assert np.isneginf(lists.scores[0, 2]) and lists.scores[0, 0] == 1


@pytest.fixture(scope="module")
def served(done):
    fit, test = (done.folder / "data/split/tiny" / part for part in ("fit", "test"))
    known = read_interactions(fit, test, upto="test")
    return {
        name: Recommendations.load(done.folder / "data/train/tiny" / name, known, device="cpu")
        for name in ("hybridvae", "itemknn", "lightgcn", "popularity")
    }


def test_users_are_known_with_all_parts_in_the_order_of_time(done, served):
    known = served["hybridvae"].known
    parts = [pd.read_parquet(done.folder / "data/split/tiny" / part / "rows.parquet") for part in ("fit", "test")]
    together = pd.concat(parts)
    assert known.ratings.nnz == len(together) == 440
    own = together[(together["user_index"] == 3) & together["positive"]].sort_values("timestamp")["item_index"]
    history = known.histories[3]
    assert history.indices[np.argsort(-history.data)].tolist() == own.tolist(), "the greatest age is the first item"


@pytest.mark.parametrize("name", ["hybridvae", "itemknn", "lightgcn", "popularity"])
def test_nobody_is_recommended_what_they_ever_rated(name, served):
    shop = served[name]
    users = np.arange(shop.known.n_users)
    items = shop.for_users(users, 24).items
    for user in users:
        rated = set(shop.known.ratings[user].indices)
        listed = items[user][items[user] >= 0]
        assert set(listed) == set(range(24)) - rated and len(set(listed)) == len(listed)
    assert (shop.for_users(users, 24, exclude_seen=False).items >= 0).all()


@pytest.mark.parametrize("name", ["hybridvae", "itemknn", "popularity"])
def test_a_known_history_gets_the_same_list_by_name_and_by_items(name, served):
    shop = served[name]
    history = shop.known.histories[5]
    ids = shop.known.items[history.indices[np.argsort(-history.data)]].tolist()
    assert (shop.history(ids) != history).nnz == 0
    by_user = shop.for_users(np.array([5]), 8, exclude_seen=False)
    by_history = shop.for_histories(shop.history(ids), 8, exclude_seen=False)
    assert by_user.items.tolist() == by_history.items.tolist()
    assert np.allclose(by_user.scores, by_history.scores, atol=1e-5)


def test_a_checkpoint_alone_recommends_for_a_history(done, served):
    alone = load_model(done.folder / "data/train/tiny/hybridvae", device="cpu")
    table = alone.recommend(["i001", "i004", "i001"], k=5, exclude=["i007"])
    assert list(table) == ["rank", "item_id", "score", "title"] and table["rank"].tolist() == [1, 2, 3, 4, 5]
    assert not {"i001", "i004", "i007"} & set(table["item_id"]) and table["score"].is_monotonic_decreasing
    assert table["title"].iloc[0] == f"{'Guitar' if table['item_id'].iloc[0] < 'i012' else 'Kettle'} " + str(
        int(table["item_id"].iloc[0][1:])
    )
    ages = alone.history(["i001", "i004", "i001"]).toarray()[0, alone.indices(["i001", "i004"])]
    assert ages.tolist() == [1, 2], "the later place counts"
    assert len(alone.recommend([], k=3)) == 3, "an empty history gets what the model expects of anyone"


@pytest.mark.parametrize("name", ["hybridvae", "itemknn"])
def test_a_reason_is_what_the_score_loses_without_the_item(name, served):
    shop = served[name]
    history = shop.history(["i001", "i004", "i008"])
    items = shop.indices(["i002", "i015"])
    reasons = shop.reasons(history, items)
    for row, left_out in enumerate(history.indices):
        without = history.copy()
        without.data[row] = 0  # ages of the others stay
        without.eliminate_zeros()
        loss = shop.model.scores_of(history)[0, items] - shop.model.scores_of(without)[0, items]
        assert np.allclose(reasons[row], loss, atol=1e-5), left_out
    assert np.array_equal(shop.reasons(history, items, of=np.array([2, 0])), reasons[[2, 0]])


def test_mistakes_are_said_in_a_sentence(done, served, tmp_path):
    with pytest.raises(HybridVAEError, match="'nothing', '\\\\ud800': not in the catalogue of 24 items"):
        served["hybridvae"].recommend(["nothing", "\ud800"])
    for odd in (50, None, ["i001"]):
        with pytest.raises(HybridVAEError, match="not in the catalogue of 24 items"):
            served["hybridvae"].recommend([odd])
    with pytest.raises(HybridVAEError, match="lightgcn knows only the users whom it was fitted on"):
        served["lightgcn"].recommend(["i001"])
    with pytest.raises(HybridVAEError, match=r"holds no checkpoint\.json"):
        load_model(tmp_path)
    fewer = served["hybridvae"].known
    fewer = type(fewer).without_users(fewer.items[1:], fewer.titles[1:])
    with pytest.raises(HybridVAEError, match="fitted on other items"):
        Recommendations.load(done.folder / "data/train/tiny/hybridvae", fewer)
    known = served["hybridvae"].known
    others = replace(known, users=known.users[::-1])  # the same people in another order
    with pytest.raises(HybridVAEError, match=r"fitted on other users than these: run `dvc repro train@lightgcn`"):
        Recommendations.load(done.folder / "data/train/tiny/lightgcn", others)
    Recommendations.load(done.folder / "data/train/tiny/hybridvae", others)  # takes histories, whoever has them


@pytest.mark.parametrize("k", [0, -1, 1.5, 10.0, True, None, "5", float("nan")])
def test_a_list_has_a_whole_number_of_items_above_none(served, k):
    shop = served["hybridvae"]
    for ask in (
        lambda: shop.recommend(["i001"], k=k),
        lambda: shop.for_users(np.array([3]), k),
        lambda: shop.for_histories(shop.history(["i001"]), k),
        lambda: list(shop.for_everyone(k)),
    ):
        with pytest.raises(BadParameterError, match=r"^k is .*: give a whole number above 0"):
            ask()


def test_a_list_is_no_longer_than_the_catalogue(served):
    shop = served["hybridvae"]
    assert len(shop.recommend(["i001", "i004"], k=10**30)) == 22
    assert len(shop.recommend(["i001"], k=np.int32(3))) == 3
    assert shop.for_users(np.array([3]), 1000).items.shape == (1, 24)


def test_items_may_be_numbers(served, monkeypatch):
    shop = served["hybridvae"]
    monkeypatch.setitem(shop._index, "50", shop._index["i001"])
    assert shop.recommend([50, "i004"]).equals(shop.recommend(["i001", "i004"]))


def test_the_stage_names_a_damaged_file(done, tmp_path):
    shutil.copytree(done.folder, tmp_path / "project", ignore=shutil.ignore_patterns(".dvc", ".git"))
    project = Project(tmp_path / "project", tmp_path / "cache", tmp_path)
    (project.folder / "data/split/tiny/test/rows.parquet").write_bytes(b"PAR1")
    said = project.run("python", "stages/recommend.py", fails=True)
    assert "cannot be read" in said and "or `dvc repro split`" in said and "Traceback" not in said


def test_a_stage_without_a_length_of_lists_says_so(done, served, tmp_path):
    with pytest.raises(BadParameterError, match="k is 0"):
        write_lists(tmp_path / "lists.parquet", served["popularity"], 0)
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    with pytest.raises(BadParameterError, match=r"recommend\.top_n is 0"):
        parse_config(RecommendConfig, {"top_n": 0}, where="recommend")


def test_the_stage_writes_everyones_list(done, served):
    lists = pd.read_parquet(done.folder / "data/recommend/tiny/lists.parquet")
    assert list(lists) == ["user_id", "rank", "item_id", "score", "title"]
    known = served["hybridvae"].known
    own = lists[lists["user_id"] == known.users[7]]
    expected = served["hybridvae"].for_users(np.array([7]), 20)
    found = expected.items[0][expected.items[0] >= 0]
    assert own["item_id"].tolist() == known.items[found].tolist() and own["rank"].tolist() == list(range(1, 14))
    assert lists["user_id"].nunique() == 40 and len(lists) == 40 * (24 - 11), "of 24 items each user rated 11"


def test_the_command_prints_a_list(done):
    said = done.run("python", "-m", "hybridvae", "recommend", "--history", "i001, i004", "--top-k", "2")
    assert said.split()[:4] == ["rank", "item_id", "score", "title"] and len(said.strip().splitlines()) == 3
    assert "'x': not in" in done.run("python", "-m", "hybridvae", "recommend", "--history", "x", fails=True)
    wrong = done.run("python", "-m", "hybridvae", "recommend", "--history", "i001", "--top-k", "0", fails=True)
    assert "'0' is no whole number above 0" in wrong
