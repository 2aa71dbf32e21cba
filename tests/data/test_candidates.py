"""Negatives: which numbers are drawn, that they are uniform, and that they depend on their key alone."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridvae.data import candidates
from hybridvae.data.candidates import check_rows, draw_candidates, draw_for, states_of
from hybridvae.errors import HybridVAEError


def test_the_generator_is_splitmix64():
    # The first numbers of the reference implementation (Vigna, splitmix64.c) for the seed 0.
    first = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert candidates._draws(np.zeros(1, dtype=np.uint64), 3)[0].tolist() == first


@pytest.mark.parametrize(("n_items", "count"), [(8, 2), (30, 2), (30, 25)])
def test_candidates_are_uniform_over_what_was_never_rated(n_items, count):
    starts, seen = np.array([0, 0, 3]), np.array([0, 2, 5])
    users = np.ones(20_000, dtype=int)
    states = states_of(7, users, np.arange(len(users)))
    flat, lengths = draw_candidates(states, users, starts, seen, n_items=n_items, count=count)
    assert set(lengths) == {count}
    drawn = flat.reshape(-1, count)
    assert all(len(set(row)) == count for row in drawn[:500])
    unseen = np.setdiff1d(np.arange(n_items), seen)
    counts = np.bincount(flat, minlength=n_items)
    assert counts[seen].sum() == 0
    wanted = count / len(unseen)
    assert np.abs(counts[unseen] / len(users) - wanted).max() < 5 * np.sqrt(wanted / len(users))
    together = (drawn == unseen[0]).any(axis=1) & (drawn == unseen[-1]).any(axis=1)
    pair = wanted * (count - 1) / (len(unseen) - 1)
    assert abs(together.mean() - pair) < 5 * np.sqrt(pair / len(users)), "two items are drawn together by chance alone"


def rows_of(seed, n_users=12, n_items=40):
    random = np.random.default_rng(seed)
    rated = [(u, i) for u in range(n_users) for i in random.permutation(n_items)[: random.integers(3, n_items)]]
    rows = pd.DataFrame(rated, columns=["user_index", "item_index"])
    place = rows.groupby("user_index").cumcount()
    rows["part"] = np.minimum(place, 2)
    return rows.assign(timestamp=place, target=place > 0)


@given(st.integers(0, 1000), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_a_draw_depends_on_its_key_alone(seed, count):
    rows = rows_of(seed)

    def drawn(some):
        tables = draw_for(some, 2, n_items=40, count=count, key=5)
        return {(row["user_index"], row["item_index"]): row["candidates"] for t in tables for row in t.to_pylist()}

    whole = drawn(rows)
    halves = drawn(rows[rows["user_index"] < 5]) | drawn(rows[rows["user_index"] >= 5].sample(frac=1, random_state=1))
    assert whole == halves
    for (user, _), negatives in whole.items():
        own = set(rows[rows["user_index"] == user]["item_index"])
        assert len(set(negatives)) == len(negatives) == min(count, 40 - len(own)) and not own & set(negatives)


def test_small_blocks_write_the_same_bytes(tmp_path, monkeypatch):
    rows = rows_of(3).astype({"user_index": np.int32, "item_index": np.int32})
    fit, test = tmp_path / "fit", tmp_path / "test"
    for folder, some in ((fit, rows[rows["part"] < 2]), (test, rows[rows["part"] == 2])):
        folder.mkdir()
        some.to_parquet(folder / "rows.parquet")
    pd.DataFrame({"item_index": np.arange(40)}).to_parquet(fit / "items.parquet")

    def written():
        report = candidates.write_candidates(fit, test, count=6, seed=1)
        return report, [pd.read_parquet(folder / "candidates.parquet") for folder in (fit, test)]

    report, whole = written()
    monkeypatch.setattr(candidates, "_USERS_ROWS", 50)
    monkeypatch.setattr(candidates, "_TARGETS", 2)
    again, pieces = written()
    assert report == again
    for one, other in zip(whole, pieces, strict=True):
        pd.testing.assert_frame_equal(one, other)
    unrated = 40 - rows.groupby("user_index").size()
    assert report["test"].min == min(6, unrated.min()) and report["test"].max == 6


def test_a_split_that_breaks_a_promise_is_refused():
    rows = rows_of(1)
    check_rows(rows)
    with pytest.raises(HybridVAEError, match="lies in two parts"):
        check_rows(pd.concat([rows, rows.iloc[:1].assign(part=2)]))
    late = rows.copy()
    late.loc[late["part"] == 0, "timestamp"] = 99
    with pytest.raises(HybridVAEError, match="a row before the validation part is later"):
        check_rows(late)
