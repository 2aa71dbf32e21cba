"""The command that sets our models beside published figures: its rows, its splits, what a model knows at test."""

import importlib
import json
from typing import ClassVar

import literature
import numpy as np
import pandas as pd
import pytest
import yaml
from beauty import CLEAN, leave_one_out, random_433, read_parts
from conftest import DAY, NOW, ROOT, review, tiny_reviews, write_lines
from literature import FIGURES, Report, planned, settings, world

from hybridvae.config import parse_config
from hybridvae.data.cleaning import clean
from hybridvae.errors import BadParameterError

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"device": "cpu"}
DATA = {"reviews_sha256": "abc", "metadata_sha256": "def"}


@pytest.fixture
def work(tmp_path, raw, monkeypatch):
    """A folder with tiny cleaned data; fits are kept, and texts encoded, nowhere else."""
    monkeypatch.setenv("HYBRIDVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(literature, "embed_texts", lambda texts, *_, **__: np.eye(len(texts), 8, dtype="f"))
    clean(raw, tmp_path / "work" / "clean", CLEAN)
    return tmp_path / "work"


@pytest.fixture
def fitted(monkeypatch):
    """The keys of the fits that are really run, in their order."""
    keys, run = [], literature.run

    def counted(fit, *more):
        keys.append(fit.key)
        return run(fit, *more)

    monkeypatch.setattr(literature, "run", counted)
    return keys


def fill(work, path, params, *, seeds=1, ties=("item_id", "drawn")):
    worlds = {one: world(work, one, params) for one in ties}
    report = Report(path, params, DATA, worlds)
    blocks = {model: params[model] for model in params["models"]}
    return report.fill(planned(params, blocks, worlds, seeds))


def rows_in(path):
    return {(row["ties"], row["model"], row["seed"]): row for row in json.loads(path.read_text())["literature"]}


def test_a_row_is_made_once_and_again_when_what_decides_it_has_changed(work, fitted, tmp_path):
    path, params = tmp_path / "literature.json", PARAMS | {"models": ["ease", "content"]}
    assert fill(work, path, params) == []
    everything = [(ties, model, 42) for model in ("ease", "content") for ties in ("item_id", "drawn")]
    assert fitted == everything
    first = rows_in(path)
    assert list(first) == sorted(everything, key=lambda key: key[0] == "drawn"), "in the file by the order of ties"
    row = first["item_id", "ease", 42]
    assert set(row["figures"]) == set(FIGURES) and row["users"] == row["targets"] == 40
    assert 0 < row["figures"]["ndcg@10"] < row["figures"]["hit@10"] == row["figures"]["recall@10"]
    assert row["device"] == "cpu" and row["validation_ndcg@10"] > 0

    fitted.clear()
    fill(work, path, params)
    assert fitted == [] and rows_in(path) == first, "nothing is fitted twice"
    fill(work, path, params | {"ease": params["ease"] | {"regularization": 7.0}}, ties=("drawn",))
    assert fitted == [("drawn", "ease", 42)], "other parameters, by the order that was asked for"
    assert rows_in(path)["drawn", "ease", 42]["parameters"]["regularization"] == 7.0
    assert rows_in(path)["item_id", "ease", 42] == first["item_id", "ease", 42]

    fitted.clear()
    fill(work, path, params | {"text": params["text"] | {"fields": ["title"]}}, ties=("item_id",))
    assert fitted == [("item_id", "content", 42)], "other texts are other data, for models that read them"


def test_other_data_or_code_make_rows_again(work, fitted, tmp_path, monkeypatch):
    path, params = tmp_path / "literature.json", PARAMS | {"models": ["popularity"]}
    fill(work, path, params)
    write_lines(tmp_path / "other" / "reviews.jsonl", tiny_reviews(seed=8))
    clean(tmp_path / "other", work / "clean", CLEAN)
    fitted.clear()
    fill(work, path, params)
    assert fitted == [("item_id", "popularity", 42), ("drawn", "popularity", 42)]
    fitted.clear()
    monkeypatch.setattr(literature, "fingerprint", lambda *files: "other code")
    fill(work, path, params, ties=("item_id",))
    assert fitted == [("item_id", "popularity", 42)]


def test_a_stopped_command_goes_on_where_it_was_and_a_model_that_fails_stops_no_other(work, tmp_path, monkeypatch):
    path, params = tmp_path / "literature.json", PARAMS | {"models": ["popularity", "ease"]}
    run = literature.run

    def stopped(fit, *more):
        if fit.key == ("drawn", "popularity", 42):
            raise KeyboardInterrupt
        return run(fit, *more)

    monkeypatch.setattr(literature, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        fill(work, path, params)
    assert list(rows_in(path)) == [("item_id", "popularity", 42)]

    def failing(fit, *more):
        if fit.model == "popularity":
            raise BadParameterError("too large")
        return run(fit, *more)

    monkeypatch.setattr(literature, "run", failing)
    assert fill(work, path, params) == ["popularity"]
    assert len(rows_in(path)) == 3
    monkeypatch.setattr(literature, "run", run)
    assert fill(work, path, params) == [] and len(rows_in(path)) == 4


def test_cheap_models_come_first_and_only_those_that_draw_have_several_seeds(work):
    params = PARAMS | {"models": ["hybridvae", "svd", "popularity", "lightgcn", "ease"]}
    worlds = {"drawn": world(work, "drawn", params)}
    fits = planned(params, {model: params[model] for model in params["models"]}, worlds, 2)
    names = [(fit.model, fit.seed) for fit in fits]
    cheap = [("popularity", 42), ("ease", 42), ("svd", 42)]
    assert names == [*cheap, ("hybridvae", 42), ("lightgcn", 42), ("svd", 43), ("hybridvae", 43), ("lightgcn", 43)]


class Next:
    """Puts the item after a history's latest first, and all others by their index behind it, the last one first."""

    needs_vectors = seeded = False
    chosen: ClassVar[dict] = {}

    def __init__(self, *, folds_in):
        self.folds_in = folds_in

    def fit(self, interactions, *, validation=None, on_epoch=None):
        self.histories = interactions.histories
        return self

    def scores(self, users):
        return self.scores_of(self.histories[users])

    def scores_of(self, histories):
        self.asked = histories.toarray()
        scores = np.tile(np.arange(self.asked.shape[1], dtype="f"), (len(self.asked), 1))
        latest = np.where(self.asked > 0, self.asked, np.inf).argmin(axis=1)
        scores[np.arange(len(scores)), (latest + 1) % scores.shape[1]] = 100
        return scores


def test_at_test_the_history_holds_the_validation_item_and_never_the_target(tmp_path):
    # Ten users like a to e in this order, and five others what comes after these: d is validation, and e is the test.
    others = [review(f"v{user}", item, 5.0, NOW + DAY * day) for user in range(5) for day, item in enumerate("fghij")]
    records = [review(f"u{user}", item, 1.0, NOW + DAY * day) for user in range(10) for day, item in enumerate("abcde")]
    write_lines(tmp_path / "raw" / "reviews.jsonl", records + others)
    clean(tmp_path / "raw", tmp_path / "clean", CLEAN)
    leave_one_out(tmp_path / "clean", tmp_path / "split", "item_id")
    parts = read_parts(tmp_path / "split", grown=True)
    model = Next(folds_in=True)
    row = literature.judged(model, parts)
    assert row["figures"]["ndcg@5"] == row["figures"]["hit@5"] == row["validation_ndcg@10"] == 1
    literature.at_test(model, parts)(np.arange(10))
    place = {item: index for index, item in enumerate(parts.train.items)}
    assert model.asked[:, [place[item] for item in "abcde"]].tolist() == [[4, 3, 2, 1, 0]] * 10, (
        "d is 1 back, e unknown"
    )
    # Fitted on a to c, a model that takes no histories puts d first, which is out of the ranking, and e sixth, behind f
    # to j. Of the others it puts j, which is their test, first.
    stuck = literature.judged(Next(folds_in=False), parts)
    assert stuck["figures"]["hit@5"] == pytest.approx(5 / 15, abs=1e-6) and stuck["figures"]["hit@10"] == 1
    assert stuck["figures"]["ndcg@5"] == stuck["figures"]["hit@5"] and stuck["validation_ndcg@10"] == 1


def test_the_random_split_gives_four_three_three_and_keeps_the_training_history(work):
    random_433(work / "clean", work / "parts")
    rows = pd.concat([pd.read_parquet(work / "parts" / part / "rows.parquet") for part in ("fit", "test")])
    assert not rows.duplicated(["user_index", "item_index"]).any() and len(rows) == 40 * 11
    # 11 items: floor(4.4 + .5) = 4 train, floor(7.7 + .5) - 4 = 4 are for validation, 3 for test.
    assert (rows.groupby(["user_index", "part"]).size().unstack() == [4, 4, 3]).all(axis=None)
    parts = read_parts(work / "parts", grown=False)
    assert np.array_equal(parts.known.histories.toarray(), parts.train.histories.toarray())
    assert parts.train.histories.max() == 4 and parts.known.ratings.nnz == 40 * 8
    assert len(parts.validation.items) == 40 * 4 and len(parts.test.items) == 40 * 3
    assert not parts.known.ratings[parts.test.users, parts.test.items].any()
    assert rows.sort_values(["user_index", "position"])["part"].is_monotonic_increasing is False, "drawn, not by time"


def test_settings_are_blocks_of_params_with_known_parameters_changed():
    changes = yaml.safe_load((ROOT / "benchmarks" / "literature.yaml").read_text())
    assert all(set(of_model) == {"from", "parameters"} for of_model in changes.values())
    for model, block in settings(PARAMS).items():
        parse_config(importlib.import_module(f"hybridvae.models.{model}").Config, block, where=model)
        assert block.items() >= changes.get(model, {"parameters": {}})["parameters"].items()


def test_every_published_row_has_a_source_and_the_figures_of_its_table():
    published = yaml.safe_load((ROOT / "benchmarks" / "published.yaml").read_text())
    assert all(set(source) == {"name", "caveat"} for source in published["sources"].values())
    assert {row["source"] for row in published["rows"]} == set(published["sources"])
    for row in published["rows"]:
        assert row["ties"] in literature.TIES and set(row["figures"]) <= set(FIGURES)
        assert ("recall@20" if row["ties"] == "random_433" else "ndcg@10") in row["figures"]
        assert all(0 < figure < 0.2 for figure in row["figures"].values())
