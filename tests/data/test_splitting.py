"""Splits: each strategy by hand, and what must hold whatever the data."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from conftest import DAY, NOW, review, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.interactions import read_interactions, read_targets
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.errors import HybridVAEError
from hybridvae.evaluation.judge import judge, validation_ndcg
from hybridvae.models import Context, create

LOOSE = CleanConfig(min_user_ratings=1, min_item_ratings=1)


def run(tmp_path, records, **config):
    write_lines(tmp_path / "raw" / "reviews.jsonl", records)
    clean(tmp_path / "raw", tmp_path / "clean", LOOSE)
    return split(tmp_path / "clean", tmp_path / "split", SplitConfig(**config))


def rows_of(tmp_path):
    """All rows as (user, item) -> (part, target)."""
    users = pd.read_parquet(tmp_path / "split/fit/users.parquet").user_id
    items = pd.read_parquet(tmp_path / "split/fit/items.parquet").item_id
    rows = pd.concat([pd.read_parquet(tmp_path / "split" / part / "rows.parquet") for part in ("fit", "test")])
    keys = zip(users[rows.user_index], items[rows.item_index], strict=True)
    return dict(zip(keys, zip(rows.part, rows.target, strict=True), strict=True))


# What somebody else likes, so that nobody has rated the whole catalogue; the parts of this user are one item each.
OTHERS = [review("somebody", item, 5.0, NOW + day * DAY) for day, item in enumerate(["other 1", "other 2", "other 3"])]


def history(user, items, *, rating=5.0, start=0):
    return [review(user, item, rating, NOW + (start + day) * DAY) for day, item in enumerate(items)]


def test_temporal_by_hand(tmp_path):
    # 10 positives: floor(1.5 + .5) = 2 for test and 2 for validation; 3 positives: 1 and 1.
    records = history("u", "abcdefghij") + history("v", "abc") + history("w", "ab")
    # Low ratings: of u before validation, between validation and test, and after the first test target.
    records += history("u", ["k"], rating=2, start=3) + history("u", ["l"], rating=2, start=7)
    records += history("u", ["m"], rating=2, start=20) + history("v", "klm", start=-9)
    report = run(tmp_path, records + OTHERS)
    rows = rows_of(tmp_path)
    assert [rows["u", item] for item in "abcdef"] == [(0, False)] * 6
    assert [rows["u", item] for item in "gh"] == [(1, True)] * 2
    assert [rows["u", item] for item in "ij"] == [(2, True)] * 2
    assert [rows["u", item] for item in "klm"] == [(0, False), (1, False), (2, False)]
    assert report["users"] == 3 and report["users_with_too_few_positives"] == 1
    assert report["test"]["targets"] == 4 and report["validation"]["targets"] == 4
    assert report["share_of_users_with_tied_boundary"] == 0


def test_ties_are_drawn_by_seed_user_and_item_and_reported(tmp_path, capsys):
    # MD5 of "2024 u a", "2024 u b", "2024 u c" begins with the digits below, so that b comes first and c last.
    begins = {item: hashlib.md5(f"2024 u {item}".encode()).hexdigest()[:2] for item in "abc"}
    assert begins == {"a": "ea", "b": "90", "c": "fb"}
    report = run(tmp_path, [review("u", item) for item in "cab"] + history("v", "abc") + OTHERS)
    rows = rows_of(tmp_path)
    assert [rows["u", item][0] for item in "bac"] == [0, 1, 2]
    assert report["share_of_users_with_tied_boundary"] == pytest.approx(1 / 3)
    known = read_interactions(tmp_path / "split/fit", tmp_path / "split/test", upto="test")
    row = known.histories[[known.users.tolist().index("u")]]
    assert dict(zip(known.items[row.indices], row.data, strict=True)) == {"b": 3, "a": 2, "c": 1}
    assert "33% of the users have a boundary of parts within one timestamp" in capsys.readouterr().err


def test_ties_and_numbers_can_go_by_the_item_id_as_in_the_literature(tmp_path):
    run(tmp_path, [review("u", item) for item in "cab"] + history("v", "abc") + OTHERS, ties="item_id")
    rows = rows_of(tmp_path)
    assert [rows["u", item][0] for item in "abc"] == [0, 1, 2]
    items = pd.read_parquet(tmp_path / "split/fit/items.parquet").item_id.tolist()
    assert items == sorted(items) and len(items) == 6


def test_a_target_of_a_user_who_rated_everything_is_left_out_and_counted(tmp_path, capsys):
    # The user "all" has rated the four items that there are; of the others each has one item left.
    records = history("all", "abcd") + history("u", "abc") + history("v", "bcd") + history("w", "abd")
    report = run(tmp_path, records)
    rows = rows_of(tmp_path)
    assert [rows["all", item] for item in "abcd"] == [(0, False), (0, False), (1, False), (2, False)]
    for part in ("validation", "test"):
        assert report[part]["targets"] == 3 and report[part]["targets_without_competitors"] == 1
        assert report[part]["negatives"] == {"min": 1, "mean": 1.0, "max": 1}
    assert "1 test targets are left out" in capsys.readouterr().err


def test_where_everybody_rated_everything_nothing_can_be_said(tmp_path):
    with pytest.raises(HybridVAEError, match="3 targets are of users who rated all else, so that any model ranks them"):
        run(tmp_path, history("u", "abcd") + history("v", "bcda") + history("w", "cdab"))


def test_a_cold_target_without_other_cold_items_is_left_out(tmp_path):
    # Of 20 items 5 % are cold: one for each part, which stands alone among the cold items of its part.
    random = np.random.default_rng(0)
    records = [r for u in range(30) for r in history(f"u{u}", [f"i{i:02d}" for i in random.permutation(20)[:8]])]
    with pytest.raises(HybridVAEError, match="targets are of users who rated all else"):
        run(tmp_path, records, strategy="cold_items")


def test_targets_that_nobody_liked_before_are_reported(tmp_path, capsys):
    # The last item of u and of v is its first in the catalogue's training part; that of w is u's first.
    report = run(tmp_path, history("u", "abcx") + history("v", "abcy") + history("w", "bcda"))
    assert report["test"]["share_of_targets_of_new_items"] == pytest.approx(2 / 3)
    assert report["validation"]["share_of_targets_of_new_items"] == pytest.approx(1 / 3)  # d, of w
    assert "67% of the test targets are items that nobody liked before" in capsys.readouterr().err


def naming(seed, names, prefix):
    """New names for names, in an order that has nothing to do with the old one."""
    order = np.random.default_rng(seed).permutation(len(names))
    return {name: f"{prefix}{place:03d}" for name, place in zip(names, order, strict=True)}


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_names_leave_the_ranks_of_every_closed_form_as_they_are(tmp_path_factory, seed):
    # Without ties in time nothing but names can differ, and the scores of these models do not go by them.
    random = np.random.default_rng(seed)
    records = [r for u in range(12) for r in history(f"u{u:02d}", [f"i{i:02d}" for i in random.permutation(16)[:7]])]
    users = naming(seed + 1, sorted({r["user_id"] for r in records}), "x")
    items = naming(seed + 2, sorted({r["asin"] for r in records}), "y")
    renamed = [r | {"user_id": users[r["user_id"]], "asin": items[r["asin"]]} for r in records]
    found = []
    for name, rows in (("as they are", records), ("renamed", renamed)):
        folder = tmp_path_factory.mktemp(name)
        run(folder, rows)
        known, targets = read_interactions(folder / "split/fit", upto="validation"), read_targets(folder / "split/test")
        ranks = {}
        for model in ("popularity", "itemknn", "ease"):
            fitted = create(model, {"k": 1000} if model == "itemknn" else {}, Context()).fit(known)
            # Sums in another order differ in their last bits, where scores should be equal.
            judged = judge(lambda u, of=fitted: of.scores(u).round(3), known, targets, protocols=("full",), lists=False)
            of_target = judged.per_target
            named = list(zip(known.users[of_target.user_index], known.items[of_target.item_index], strict=True))
            if name == "as they are":
                named = [(users[user], items[item]) for user, item in named]
            ranks[model] = dict(zip(named, of_target["full/rank"].tolist(), strict=True))
        found.append(ranks)
    assert found[0] == found[1]


def popularity_at_one_time(folder, records, **config):
    """Full-ranking NDCG@10 of Popularity where the split draws everything."""
    run(folder, records, **config)
    known, targets = read_interactions(folder / "split/fit", upto="validation"), read_targets(folder / "split/test")
    return validation_ndcg(create("popularity", {}, Context()).fit(known).scores, known, targets)


def test_names_move_a_figure_no_more_than_seeds_do_where_all_is_rated_at_one_time(tmp_path):
    # The lower an item's number the more like it.
    random = np.random.default_rng(3)
    records = [
        review(f"u{u:02d}", f"i{i:02d}") for u in range(40) for i in range(30) if random.random() < 0.9 * 0.92**i
    ]
    names = sorted({r["asin"] for r in records})
    by_name, by_seed = [], []
    for number in range(20):
        names_of = naming(number, names, "y")
        renamed = [r | {"asin": names_of[r["asin"]]} for r in records]
        by_name.append(popularity_at_one_time(tmp_path / f"name {number}", renamed))
        by_seed.append(popularity_at_one_time(tmp_path / f"seed {number}", records, seed=number))
    assert np.std(by_name) < 1.5 * np.std(by_seed)
    assert abs(np.mean(by_name) - np.mean(by_seed)) < np.std(by_seed)
    # By id everybody's targets are the same few items, which training hardly has, and it is names that say which.
    by_id = popularity_at_one_time(tmp_path / "by id", records, ties="item_id")
    assert by_id < np.mean(by_seed) - 5 * np.std(by_seed)


def test_histories_hold_ages_and_a_low_rating_has_none(tmp_path):
    # In time d, a and c (a tie), b, e, f, with a low rating between: d, a, c, b train, e validates and f tests.
    times = {"d": 0, "a": 1, "c": 1, "b": 2, "e": 3, "f": 4}
    records = [review("u", item, time=NOW + day * DAY) for item, day in times.items()] + history("v", "abcdef")
    run(tmp_path, [*records, review("u", "g", 2.0, NOW + 2 * DAY), review("v", "g"), *OTHERS], ties="item_id")
    wanted = {"train": {"d": 4, "a": 3, "c": 2, "b": 1}, "validation": {"d": 5, "a": 4, "c": 3, "b": 2, "e": 1}}
    for part, ages in wanted.items():
        known = read_interactions(tmp_path / "split/fit", upto=part)
        row = known.histories[[known.users.tolist().index("u")]]
        assert dict(zip(known.items[row.indices], row.data, strict=True)) == ages
        assert np.array_equal(row.indices, known.positives[[known.users.tolist().index("u")]].indices)


def test_leave_one_out_by_hand(tmp_path):
    run(tmp_path, history("u", "abcdefghijklmnopqrst") + history("v", "abc") + OTHERS, strategy="leave_one_out")
    rows = rows_of(tmp_path)
    assert [item for item in "abcdefghijklmnopqrst" if rows["u", item][0] == 0] == list("abcdefghijklmnopqr")
    assert rows["u", "s"] == (1, True) and rows["u", "t"] == (2, True)


def test_global_temporal_by_hand(tmp_path):
    # 20 positives of days 0 to 19: cuts at 70 % (day 14) and 85 % (day 17), for everyone.
    items = "abcdefghijklmnop"
    records = history("u", items) + history("v", "abcz", start=16)
    report = run(tmp_path, records, strategy="global_temporal")
    rows = rows_of(tmp_path)
    # Days: u 0..15, v 16..19; the 15th positive is of day 14, the 18th of day 17.
    assert rows["u", "n"] == (0, False) and rows["u", "o"] == (1, True) and rows["u", "p"] == (1, True)
    assert rows["v", "a"] == (1, False)  # no history before: counted, not a target
    assert [rows["v", item] for item in "bcz"] == [(2, True)] * 3
    assert report["validation"]["targets_without_history"] == 1


def test_cold_items_lose_all_interactions_and_history_is_earlier(tmp_path):
    random = np.random.default_rng(0)
    records = []
    for user in range(30):
        records += history(f"u{user}", [f"i{i:02d}" for i in random.permutation(20)[:8]])
    report = run(tmp_path, records, strategy="cold_items", cold_share=0.1)
    fit = read_interactions(tmp_path / "split/fit", upto="train")
    assert (fit.cold == 1).sum() == 2 and (fit.cold == 2).sum() == 2
    assert fit.ratings[:, fit.cold > 0].nnz == 0
    refit = read_interactions(tmp_path / "split/fit", upto="validation")
    assert refit.ratings[:, refit.cold == 2].nnz == 0
    for folder, part in (("fit", 1), ("test", 2)):
        targets = read_targets(tmp_path / "split" / folder)
        assert set(fit.cold[targets.items]) == {part}
        seen = fit if part == 1 else refit
        assert (np.diff(seen.positives.indptr)[targets.users] > 0).all()
    assert report["test"]["targets"] > 10


def test_the_catalogue_is_what_staying_users_like(tmp_path):
    records = history("u", "abcd") + history("v", "xy") + history("u", ["z"], rating=1, start=9) + history("w", "bcde")
    report = run(tmp_path, records)
    assert set(pd.read_parquet(tmp_path / "split/fit/items.parquet").item_id) == set("abcde")
    assert report["rows"] == 8 and report["rows_of_leavers"] == 3


def test_a_part_without_targets_is_an_error(tmp_path):
    with pytest.raises(HybridVAEError, match="leaves no validation target"):
        run(tmp_path, history("u", "ab"))


@settings(max_examples=20, deadline=None)
@given(
    strategy=st.sampled_from(["temporal", "leave_one_out", "global_temporal", "cold_items"]),
    seed=st.integers(0, 10_000),
    spread=st.integers(1, 30),
)
def test_what_holds_for_every_split(tmp_path_factory, strategy, seed, spread):
    tmp_path = tmp_path_factory.mktemp("split")
    random = np.random.default_rng(seed)
    records = [
        review(f"u{u}", f"i{i:02d}", float(random.integers(1, 6)), NOW + int(random.integers(spread)) * DAY)
        for u in range(15)
        for i in random.permutation(20)[: random.integers(1, 20)]
    ]
    try:
        run(tmp_path, records, strategy=strategy, cold_share=0.2, candidates=5)
    except HybridVAEError as error:
        assert "target" in str(error)  # too little data for a part: said in words
        return
    rows = pd.concat([pd.read_parquet(tmp_path / "split" / part / "rows.parquet") for part in ("fit", "test")])
    assert not rows.duplicated(["user_index", "item_index"]).any()
    rated = set(zip(rows.user_index, rows.item_index, strict=True))
    assert rows[rows.target].positive.all()
    for folder, part in (("fit", 1), ("test", 2)):
        targets = read_targets(tmp_path / "split" / folder)
        assert (np.diff(targets.users) >= 0).all()
        for user, item, candidates in zip(targets.users, targets.items, targets.candidates, strict=True):
            own = rows[rows.user_index == user]
            row = own[own.item_index == item].iloc[0]
            assert row.target and row.part == part
            before = own[own.part < part]
            assert (before.timestamp <= row.timestamp).all() and before.positive.any()
            drawn = candidates[candidates >= 0]
            assert len(set(drawn)) == len(drawn) == min(5, 1 + rows.item_index.max() - len(own))
            assert not {(user, c) for c in drawn} & rated


def test_the_split_seed_alone_decides_the_candidates(tmp_path):
    records = [r for u in range(12) for r in history(f"u{u}", [f"i{(u * 3 + n) % 40:02d}" for n in range(6)])]
    run(tmp_path, records, candidates=5)
    first = (tmp_path / "split/test/candidates.parquet").read_bytes()
    run(tmp_path, records, candidates=5)
    assert (tmp_path / "split/test/candidates.parquet").read_bytes() == first
    run(tmp_path, records, candidates=5, seed=1)
    assert (tmp_path / "split/test/candidates.parquet").read_bytes() != first
