"""Cleaning: duplicates, k-core, positives, and accounts that add up."""

import random
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
from conftest import DAY, NOW, review, tiny_reviews, write_lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.errors import HybridVAEError

LOOSE = CleanConfig(min_user_ratings=1, min_item_ratings=1, max_reject_share=1.0)


def run(tmp_path, records, config=LOOSE, name="out"):
    raw = tmp_path / f"raw-{name}"
    write_lines(raw / "reviews.jsonl", records)
    report = clean(raw, tmp_path / name, config)
    return report, pd.read_parquet(tmp_path / name / "reviews.parquet")


def balanced(report):
    gone = sum(report["rejected"].values()) + report["duplicates"] + report["k_core_removed"]
    return report["rows_in"] == report["rows_out"] + gone


def test_the_last_of_duplicates_counts(tmp_path):
    records = [review("u", "i", 2.0, NOW + DAY), review("u", "i", 5.0, NOW), review("u", "j", 3.0, NOW)]
    report, rows = run(tmp_path, records)
    assert report["duplicates"] == 1 and balanced(report)
    assert rows[rows.item_id == "i"].rating.tolist() == [2.0]
    assert rows.positive.tolist() == [False, False]


def test_ratings_from_the_threshold_on_are_positive(tmp_path):
    _, rows = run(tmp_path, [review("u", f"i{r}", r) for r in (1, 3.9, 4, 5)])
    assert rows.set_index("item_id").positive.to_dict() == {"i1": False, "i3.9": False, "i4": True, "i5": True}


def test_a_threshold_between_whole_ratings_is_met_by_its_own_value(tmp_path):
    config = replace(LOOSE, positive_rating=4.2)
    _, rows = run(tmp_path, [review("u", f"i{r}", r) for r in (4.1, 4.2, 4.3)], config)
    assert rows.set_index("item_id").positive.to_dict() == {"i4.1": False, "i4.2": True, "i4.3": True}


def test_k_core_by_hand(tmp_path):
    # c has one rating and goes; then z has one user left and goes; then b has one rating left and goes.
    pairs = [("a", "x"), ("a", "y"), ("d", "x"), ("d", "y"), ("b", "x"), ("b", "z"), ("c", "z")]
    config = CleanConfig(min_user_ratings=2, min_item_ratings=2)
    report, rows = run(tmp_path, [review(u, i) for u, i in pairs], config)
    assert [r["rows"] for r in report["k_core_rounds"]] == [7, 6, 5, 4]
    assert set(zip(rows.user_id, rows.item_id, strict=True)) == {("a", "x"), ("a", "y"), ("d", "x"), ("d", "y")}
    assert balanced(report)


def brute_force_core(pairs, users_at_least, items_at_least):
    while True:
        users, items = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        kept = {(u, i) for u, i in pairs if users[u] >= users_at_least and items[i] >= items_at_least}
        if kept == pairs:
            return kept
        pairs = kept


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=45),
    k=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_k_core_agrees_with_brute_force(tmp_path_factory, pairs, k):
    tmp_path = tmp_path_factory.mktemp("core")
    pairs = {(f"u{u}", f"i{i}") for u, i in pairs}
    expected = brute_force_core(pairs, *k)
    config = CleanConfig(min_user_ratings=k[0], min_item_ratings=k[1])
    records = [review(u, i) for u, i in sorted(pairs)]
    if not expected:
        with pytest.raises(HybridVAEError, match="nothing is left after the k-core"):
            run(tmp_path, records, config)
        return
    report, rows = run(tmp_path, records, config)
    assert set(zip(rows.user_id, rows.item_id, strict=True)) == expected and balanced(report)


def test_the_order_of_the_lines_does_not_matter(tmp_path):
    # Ties of the timestamp between duplicates included.
    records = tiny_reviews() + [review("u001", "i003", r, NOW, title=f"t{r}") for r in (1.0, 5.0, 3.0)]
    first, _ = run(tmp_path, records, CleanConfig(), "first")
    random.Random(3).shuffle(records)
    second, _ = run(tmp_path, records, CleanConfig(), "second")
    assert first == second
    for name in ("reviews.parquet", "items.parquet"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_an_empty_core_says_what_each_round_left(tmp_path):
    with pytest.raises(HybridVAEError, match=r"4 rows \(2 users, 2 items\) -> 0 rows"):
        run(tmp_path, [review(u, i) for u in "ab" for i in "xy"], CleanConfig(min_user_ratings=5))


def test_too_many_bad_lines_stop_the_run(tmp_path):
    records = [review("u", f"i{n}") for n in range(9)] + [review("u", "i", 9)]
    with pytest.raises(HybridVAEError, match=r"1 of 10 lines .*bad_rating 1; first: line 10: .*max_reject_share"):
        run(tmp_path, records, CleanConfig(min_user_ratings=1, min_item_ratings=1, max_reject_share=0.05))
    report, _ = run(tmp_path, records, CleanConfig(min_user_ratings=1, min_item_ratings=1, max_reject_share=0.1))
    assert report["rejected"] == {"bad_rating": 1} and balanced(report)
    assert b'"line":10' in (tmp_path / "out" / "rejects.jsonl").read_bytes()


def test_items_carry_metadata_where_there_is_some(tmp_path):
    write_lines(tmp_path / "raw-out" / "metadata.jsonl", [{"asin": "i", "title": "A thing"}, {"asin": "other"}])
    run(tmp_path, [review("u", "i"), review("u", "j")])
    items = pd.read_parquet(tmp_path / "out" / "items.parquet").set_index("item_id")
    assert items.title.to_dict() == {"i": "A thing", "j": ""}


def test_beauty_is_what_the_literature_has(real_data, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "reviews.jsonl.gz").symlink_to(real_data / "beauty_2014_5core.jsonl.gz")
    report = clean(raw, tmp_path / "out", CleanConfig())
    assert (report["users"], report["items"], report["rows_out"]) == (22_363, 12_101, 198_502)
