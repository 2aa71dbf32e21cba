"""Item text without leaks, and vectors that are encoded once."""

import numpy as np
import pandas as pd
import pytest
from conftest import DAY, NOW, review, write_lines

from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.embedding import EmbedConfig, embed_texts, without_meaning
from hybridvae.data.item_text import TextConfig, compose, gather_item_texts
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.errors import HybridVAEError


@pytest.fixture
def texts_of(tmp_path):
    """Item texts of reviews in which every (user, item) says a word of its own."""

    def gather(records, config=None, metadata=()):
        write_lines(tmp_path / "raw" / "reviews.jsonl", records)
        if metadata:
            write_lines(tmp_path / "raw" / "metadata.jsonl", metadata)
        clean(tmp_path / "raw", tmp_path / "clean", CleanConfig(min_user_ratings=1, min_item_ratings=1))
        split(tmp_path / "clean", tmp_path / "split", SplitConfig(candidates=1))
        texts = gather_item_texts(tmp_path / "clean", tmp_path / "split" / "fit", config or TextConfig())
        items = pd.read_parquet(tmp_path / "split/fit/items.parquet").item_id
        return dict(zip(items, texts, strict=True))

    return gather


def secret(user, item):
    return f"secret-{user}-{item}"


def records_with_secrets(users=8, items=10):
    return [
        review(f"u{u}", f"i{(u + n) % items}", 5.0, NOW + n * DAY, title=secret(f"u{u}", f"i{(u + n) % items}"))
        for u in range(users)
        for n in range(7)
    ]


def test_only_the_words_of_training_reviews_reach_an_item(texts_of, tmp_path):
    texts = " ".join(texts_of(records_with_secrets()).values())
    fit, test = (pd.read_parquet(tmp_path / "split" / part / "rows.parquet") for part in ("fit", "test"))
    users, items = (pd.read_parquet(tmp_path / f"split/fit/{kind}s.parquet")[f"{kind}_id"] for kind in ("user", "item"))
    rows = pd.concat([fit, test])
    assert {0, 1, 2} == set(rows.part)
    for user, item, part in zip(users[rows.user_index], items[rows.item_index], rows.part, strict=True):
        assert (secret(user, item) in texts) == (part == 0), (user, item, part)


def test_fields_are_in_order_and_bounded(texts_of):
    records = records_with_secrets()
    metadata = [{"asin": "i1", "title": "Drum", "brand": "Bang", "categories": ["Loud"], "description": "Round"}]
    config = TextConfig(fields=("categories", "title", "reviews"), max_reviews=1)
    text = texts_of(records, config, metadata)["i1"]
    # u1 wrote of i1 on the first day, u0 on the second: the oldest review comes first, and one is wanted.
    assert text == "Loud. Drum. secret-u1-i1."
    item = {"title": "abc", "brand": "", "categories": "", "description": "", "reviews": ["d!", "e"]}
    assert compose(item, TextConfig(max_characters=6)) == "abc. d"
    assert compose(item, TextConfig()) == "abc. d! e."
    assert compose(item | {"title": "", "reviews": []}, TextConfig()) == ""


class Counting:
    """An encoder of three numbers a text that counts what it is asked for."""

    def __init__(self, die_after=None):
        self.asked = []
        self.die_after = die_after

    def __call__(self, texts):
        if self.die_after is not None and len(self.asked) >= self.die_after:
            raise KeyboardInterrupt
        self.asked += texts
        return np.array([[len(text), 1.0, ord(text[0])] for text in texts], dtype=np.float32)


def test_a_changed_text_is_the_only_one_encoded_again(tmp_path):
    texts = [f"{chr(97 + n % 26)} text {n}" for n in range(100)]
    first = Counting()
    before = embed_texts(texts, EmbedConfig(), cache=tmp_path, encoder=first)
    assert sorted(first.asked) == sorted(texts)
    second = Counting()
    after = embed_texts(["changed", *texts[1:]], EmbedConfig(), cache=tmp_path, encoder=second)
    assert second.asked == ["changed"]
    assert np.array_equal(before[1:], after[1:]) and not np.array_equal(before[0], after[0])


def test_another_model_has_another_cache(tmp_path):
    embed_texts(["a"], EmbedConfig(model="one"), cache=tmp_path, encoder=Counting())
    other = Counting()
    embed_texts(["a"], EmbedConfig(model="two"), cache=tmp_path, encoder=other)
    assert other.asked == ["a"]


def test_another_content_of_a_models_folder_or_another_device_has_another_cache(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for content, device in (("one", "cpu"), ("two", "cpu"), ("two", "cuda")):
        (folder / "weights").write_text(content)
        encoder = Counting()
        for _ in range(2):
            embed_texts(["a"], EmbedConfig(model=str(folder)), cache=tmp_path, encoder=encoder, device=device)
        assert encoder.asked == ["a"], (content, device)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    texts = [f"{chr(97 + n % 26)} text {n}" for n in range(100)]
    config = EmbedConfig(batch_size=2)
    whole = embed_texts(texts, config, cache=tmp_path / "a", encoder=Counting())
    with pytest.raises(KeyboardInterrupt):
        embed_texts(texts, config, cache=tmp_path / "b", encoder=Counting(die_after=50))
    rest = Counting()
    resumed = embed_texts(texts, config, cache=tmp_path / "b", encoder=rest)
    assert 0 < len(rest.asked) < 100
    assert resumed.tobytes() == whole.tobytes()


def test_an_item_without_text_gets_the_mean_of_the_others(tmp_path):
    vectors = embed_texts(["a", "", "bcd"], EmbedConfig(), cache=tmp_path, encoder=Counting())
    np.testing.assert_allclose(np.linalg.norm(vectors[[0, 2]], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(vectors[1], (vectors[0] + vectors[2]) / 2, rtol=1e-6)


def test_no_text_at_all_is_an_error(tmp_path):
    with pytest.raises(HybridVAEError, match="no item has any text"):
        embed_texts(["", ""], EmbedConfig(), cache=tmp_path, encoder=Counting())


def test_controls_take_the_meaning_and_leave_unit_vectors():
    vectors = np.eye(50, 8, dtype=np.float32) + 0.1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert without_meaning(vectors, EmbedConfig(), seed=1) is vectors
    shuffled = without_meaning(vectors, EmbedConfig(control="shuffled"), seed=1)
    assert not np.array_equal(shuffled, vectors)
    assert sorted(map(tuple, shuffled)) == sorted(map(tuple, vectors))  # the same rows elsewhere
    drawn = without_meaning(vectors, EmbedConfig(control="random"), seed=1)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, rtol=1e-6)
    assert drawn.shape == vectors.shape and drawn.dtype == np.float32
    for control, once in (("shuffled", shuffled), ("random", drawn)):
        assert np.array_equal(without_meaning(vectors, EmbedConfig(control=control), seed=1), once)
        assert not np.array_equal(without_meaning(vectors, EmbedConfig(control=control), seed=2), once)


def test_the_packaged_model_knows_meaning_offline(tmp_path):
    texts = ["An electric guitar.", "An acoustic bass.", "A kettle for tea."]
    vectors = embed_texts(texts, EmbedConfig(), cache=tmp_path)
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2
