"""Cleaning: duplicates, k-core, positives, and accounts that add up."""

import io
import json
import random
from collections import Counter
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import DAY, NOW, review, tiny_reviews, write_lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.reviews import read_metadata, read_reviews
from hybridvae.errors import BadDataError, HybridVAEError

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


def items_of(tmp_path, reviews, metadata):
    """The report and the titles by item."""
    write_lines(tmp_path / "raw-out" / "metadata.jsonl", metadata)
    report, _ = run(tmp_path, reviews)
    items = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert list(items) == ["item_id", "title", "brand", "categories", "description"]
    return report, items.set_index("item_id").title.to_dict()


def test_it_is_counted_how_many_items_are_described(tmp_path, capsys):
    records = [review("u", f"i{n}") for n in range(4)]
    report, _ = items_of(tmp_path, records, [{"asin": "i0", "title": "T"}, {"asin": "i1", "brand": "B"}])
    assert report["described"] == 2 and capsys.readouterr().err == ""
    report, titles = items_of(tmp_path, records, [{"asin": "i0", "title": "T"}, {"asin": "i1"}, {"asin": "x9"}])
    assert report["described"] == 1 and titles == {"i0": "T", "i1": "", "i2": "", "i3": ""}
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "warning: the metadata describe 1 of the 4 items; ids are such as 'i0' or 'i3' in the reviews (asin) and "
        "'i0' or 'x9' in the metadata (asin); the other items have no title."
    )
    (tmp_path / "raw-out" / "metadata.jsonl").unlink()
    report, _ = run(tmp_path, records)
    assert (report["described"], report["metadata_rows_in"]) == (0, 0) and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ([{"asin": 5}, {"asin": 7}], r"ids are such as '0005' or '0007' in the reviews \(asin\) and '5' or '7' in the"),
        (
            [{"asin": "B9", "title": "T"}],
            r"none of the 2 items; .* and 'B9' in the metadata \(asin\): give reviews and",
        ),
        ([{"parent_asin": "B9"}], r"'B9' in the metadata \(parent_asin\), where asin is one variant of a product"),
        ([{"asin": "0005", "label": "T"}], "have 1 of the 2 items, but for none of them a title, brand or store"),
    ],
)
def test_metadata_of_other_items_are_refused(tmp_path, metadata, words):
    with pytest.raises(BadDataError, match=words):
        items_of(tmp_path, [review("u", "0005"), review("u", "0007")], metadata)
    assert not (tmp_path / "out" / "items.parquet").exists()


def test_products_and_their_variants_find_each_other(tmp_path):
    # The reviews name variants: metadata that have them beside the product describe them.
    records = [review("u", "red"), review("u", "hat")]
    metadata = [
        {"parent_asin": "hat", "asin": "green", "title": "Hat"},
        {"parent_asin": "hat", "asin": "red", "title": "A red hat"},
        {"parent_asin": "lid", "asin": "hat", "title": "Named last"},
    ]
    report, titles = items_of(tmp_path, records, metadata)
    assert titles == {"red": "A red hat", "hat": "Hat"} and report["described"] == 2
    # The reviews name both: metadata of variants describe the product.
    records = [review("u", "red", parent_asin="hat"), review("u", "s", parent_asin="shoe"), review("u", "x")]
    report, titles = items_of(tmp_path, records, [{"asin": "red", "title": "A red hat"}, {"asin": "x", "title": "X"}])
    assert titles == {"hat": "A red hat", "shoe": "", "x": "X"} and report["described"] == 2


@st.composite
def mutated_lines(draw):
    """Lines of reviews with something wrong: a value of another kind, or bytes put in, left out or exchanged."""
    lines = []
    for number in range(draw(st.integers(1, 6))):
        record = review(f"u{draw(st.integers(0, 2))}", f"i{number % 2}", draw(st.sampled_from([1, 3.5, 5])))
        for name in draw(st.lists(st.sampled_from([*record, "parent_asin"]), max_size=2)):
            record[name] = draw(ODD_VALUES)
        line = bytearray(json.dumps(record).encode())
        for _ in range(draw(st.integers(0, 2))):
            at, width = draw(st.integers(0, len(line))), draw(st.integers(0, 3))
            line[at : at + width] = draw(st.one_of(st.sampled_from(ODD_BYTES), st.binary(max_size=3)))
        lines.append(bytes(line))
    return b"\n".join(lines) + draw(st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]))


ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=[])),  # lone surrogates too
    st.sampled_from(
        [10**400, "x" * 2000, "a\0b", "&#" + "9" * 4301 + ";", "&#xd800;", "&#0;", [["x", [1]], {}], 1e308]
    ),
)
ODD_BYTES = [
    b"NaN",
    b"-Infinity",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\\ud800",
    b"\n",
    b"'",
    b"[" * 2000,
    b"9" * 400,
    b"{'",
    b"\0",
]


@settings(max_examples=300, deadline=None)
@given(lines=mutated_lines())
def test_whatever_lines_hold_every_one_is_kept_or_rejected(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "reviews.jsonl"
    good = json.dumps(review("good", "i0")).encode()
    path.write_bytes(good + b"\n" + lines)
    for reader in (read_reviews, read_metadata):
        rejects = io.BytesIO()
        try:
            report = reader(path, path.with_name("kept.parquet"), rejects)
        except BadDataError:
            assert reader is read_metadata  # all lines are of reviews
            continue
        kept = pq.read_table(path.with_name("kept.parquet"))
        written = [json.loads(line) for line in rejects.getvalue().splitlines()]
        assert report.lines == len(io.BytesIO(path.read_bytes()).readlines())
        assert report.kept == len(kept) and Counter(entry["reason"] for entry in written) == report.rejected
        assert report.lines == report.kept + len(written)
        assert [entry["line"] for entry in written] == sorted({entry["line"] for entry in written})
        assert all(len(entry["detail"]) < 400 for entry in written)


@settings(max_examples=20, deadline=None)
@given(lines=mutated_lines())
def test_whatever_lines_hold_the_accounts_add_up(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("accounts")
    (folder / "raw").mkdir()
    good = json.dumps(review("good", "i0")).encode()
    (folder / "raw" / "reviews.jsonl").write_bytes(good + b"\n" + lines)
    report = clean(folder / "raw", folder / "out", LOOSE)
    assert balanced(report) and report["rows_out"] == len(pd.read_parquet(folder / "out" / "reviews.parquet"))
    rejects = (folder / "out" / "rejects.jsonl").read_bytes().splitlines()
    assert len(rejects) == sum(report["rejected"].values())


def test_beauty_is_what_the_literature_has(real_data, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "reviews.jsonl.gz").symlink_to(real_data / "beauty_2014_5core.jsonl.gz")
    report = clean(raw, tmp_path / "out", CleanConfig())
    assert (report["users"], report["items"], report["rows_out"]) == (22_363, 12_101, 198_502)
