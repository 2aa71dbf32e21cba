"""Item text without leaks, and vectors that are encoded once."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import islice

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from conftest import DAY, NOW, review, write_lines
from serving import eventually

from hybridvae.data import embedding, encoding
from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.embedding import EmbedConfig, _checksum, _key, embed_texts, without_meaning
from hybridvae.data.engine import EngineConfig
from hybridvae.data.item_text import TextConfig, compose, gather_item_texts
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.errors import HybridVAEError, UnreadableFileError


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


TEXTS = [f"{chr(97 + n % 26)} text {n}" for n in range(100)]


def encoded(cache, encoder=None):
    """The vectors of TEXTS, and how many of them were encoded for it."""
    encoder = encoder or Counting()
    vectors = embed_texts(TEXTS, EmbedConfig(), cache=cache, encoder=encoder)
    return vectors.tobytes(), len(encoder.asked)


def store_of(cache):
    (path,) = (cache / "vectors").glob("*.sqlite")
    return path


def run_sql(path, statement, *values):
    with closing(sqlite3.connect(path)) as store, store:
        return store.execute(statement, values).fetchall()


@pytest.mark.parametrize(
    ("statement", "bad"),
    [
        ("UPDATE checked_vectors SET vector = zeroblob(12)", 100),
        ("UPDATE checked_vectors SET vector = CAST(vector AS TEXT) || 'x' WHERE text < x'80'", None),
        ("UPDATE checked_vectors SET vector = 5, checksum = 'x' WHERE text < x'80'", None),
        ("UPDATE checked_vectors SET checksum = zeroblob(32) WHERE text < x'80'", None),
        ("DELETE FROM checked_vectors WHERE text < x'80'", 0),
    ],
)
def test_damaged_rows_are_encoded_anew(tmp_path, capsys, statement, bad):
    whole, _ = encoded(tmp_path)
    below = run_sql(store_of(tmp_path), "SELECT count(*) FROM checked_vectors WHERE text < x'80'")[0][0]
    run_sql(store_of(tmp_path), statement)
    again, asked = encoded(tmp_path)
    bad = below if bad is None else bad
    assert again == whole and asked == (bad or below) and 0 < below < 100
    said = f"warning: {bad} of 100 stored vectors of texts are damaged: these texts are encoded anew.\n" if bad else ""
    assert capsys.readouterr().err == said
    assert encoded(tmp_path) == (whole, 0) and not capsys.readouterr().err


def test_rows_that_no_number_or_another_size_damages_are_encoded_anew(tmp_path, capsys):
    whole, _ = encoded(tmp_path)
    for text, vector in ((TEXTS[3], np.array([1, np.nan, 2], dtype="f")), (TEXTS[5], np.ones(4, dtype="f"))):
        row = (vector.tobytes(), _checksum(text, vector.tobytes()), _key(text))
        run_sql(store_of(tmp_path), "UPDATE checked_vectors SET vector = ?, checksum = ? WHERE text = ?", *row)
    assert encoded(tmp_path) == (whole, 2) and "2 of 100 stored vectors" in capsys.readouterr().err


def test_vectors_of_another_size_than_the_encoders_are_encoded_anew(tmp_path, capsys):
    encoded(tmp_path / "a")
    whole, _ = encoded(tmp_path / "b", Wider())
    run_sql(store_of(tmp_path / "a"), "DELETE FROM checked_vectors WHERE text = ?", _key(TEXTS[0]))
    assert encoded(tmp_path / "a", Wider()) == (whole, 100)
    assert "99 stored vectors of texts have not the encoder's 4 numbers" in capsys.readouterr().err


class Wider(Counting):
    def __call__(self, texts):
        return np.pad(super().__call__(texts), ((0, 0), (0, 1)), constant_values=2.0)


def flip_bits(path, *places):
    content = bytearray(path.read_bytes())
    for place in places:
        content[int(place * len(content))] ^= 0x55
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"garbage " * 1000),
        lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2]),
        lambda path: flip_bits(path, *np.linspace(0.26, 0.98, 400)),
        lambda path: flip_bits(path, 0),
        lambda path: path.write_bytes(path.read_bytes().replace(b"checksum BLOB", b"checksun BLOB")),
    ],
    ids=["garbage", "cut", "flipped", "first byte", "schema"],
)
def test_a_damaged_store_is_replaced_once(tmp_path, capsys, damage):
    whole, _ = encoded(tmp_path)
    damage(store_of(tmp_path))
    assert encoded(tmp_path)[0] == whole
    assert "damaged" in capsys.readouterr().err
    assert encoded(tmp_path) == (whole, 0) and not capsys.readouterr().err


def test_of_a_damaged_store_what_is_whole_is_kept(tmp_path):
    whole, _ = encoded(tmp_path)
    path = store_of(tmp_path)
    size = run_sql(path, "PRAGMA page_size")[0][0]
    content = bytearray(path.read_bytes())
    content[3 * size : 3 * size + 8] = b"\xff" * 8  # the head of the fourth page
    path.write_bytes(content)
    again, asked = encoded(tmp_path)
    assert again == whole and 0 < asked <= 50, "no more than fit on a page"
    assert encoded(tmp_path) == (whole, 0)


@pytest.mark.parametrize("obstacle", ["a file for the folder", "a folder for the file", "locked", "full", "read-only"])
def test_a_store_that_cannot_be_used_is_done_without(tmp_path, capsys, monkeypatch, obstacle):
    whole, _ = encoded(tmp_path / "whole")
    cache = tmp_path / "cache"
    encoded(cache)
    path = store_of(cache)
    holder = sqlite3.connect(path, isolation_level=None)
    if obstacle == "a file for the folder":
        shutil.rmtree(cache)
        cache.write_text("")
    elif obstacle == "a folder for the file":
        path.unlink()
        path.mkdir()
    elif obstacle == "locked":
        monkeypatch.setattr(embedding, "_PATIENCE", 0.01)
        holder.execute("BEGIN EXCLUSIVE")
    else:
        run_sql(path, "DELETE FROM checked_vectors")
        pragma = {"full": "PRAGMA max_page_count = 1", "read-only": "PRAGMA query_only = 1"}[obstacle]
        connect = sqlite3.connect

        def limited(*arguments, **options):
            connection = connect(*arguments, **options)
            connection.execute(pragma)
            return connection

        run_sql(path, "VACUUM")
        monkeypatch.setattr(sqlite3, "connect", limited)
    again, asked = encoded(cache)
    said = capsys.readouterr().err
    assert (again, asked) == (whole, 100)
    assert said.count("\n") == 1 and "cannot be used" in said and "what is encoded now is not kept" in said
    holder.close()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (lambda texts: np.full((len(texts), 3), np.nan), "numbers that are not finite"),
        (lambda texts: np.full((len(texts), 3), np.inf), "numbers that are not finite"),
        (lambda texts: np.ones((len(texts) + 1, 3)), r"an array \(17, 3\)"),
        (lambda texts: np.ones(3), r"an array \(3,\)"),
    ],
)
def test_what_is_no_vector_is_said_and_not_kept(tmp_path, answer, what):
    with pytest.raises(HybridVAEError, match=f"the text encoder 'all-MiniLM-L6-v2' gave {what} for 16 texts"):
        embed_texts(TEXTS, EmbedConfig(), cache=tmp_path, encoder=answer)
    assert encoded(tmp_path)[1] == 100


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


def test_several_processes_give_the_same_bytes(tmp_path):
    config = EmbedConfig(batch_size=2)
    whole = embed_texts(TEXTS, config, cache=tmp_path / "a", encoder=Counting())
    here = Counting()
    others = embed_texts(TEXTS, config, cache=tmp_path / "b", encoder=here, engine=EngineConfig(encoders=2))
    assert others.tobytes() == whole.tobytes()
    assert not here.asked, "other processes have copies of the encoder"
    again = embed_texts(TEXTS, config, cache=tmp_path / "b", encoder=Counting(die_after=0))
    assert again.tobytes() == whole.tobytes(), "all of it is stored"


def test_several_processes_with_the_packaged_model_give_the_same_bytes(tmp_path):
    texts = [" ".join(["guitar"] * n) for n in range(1, 33)]
    one, two = (
        embed_texts(texts, EmbedConfig(batch_size=1), cache=tmp_path / str(n), engine=EngineConfig(encoders=n))
        for n in (1, 2)
    )
    assert one.tobytes() == two.tobytes()


def test_a_killed_run_of_several_processes_goes_on(tmp_path, monkeypatch):
    real, two = embedding.encode_batches, EngineConfig(encoders=2)

    def killed(batches, **options):
        yield from islice(real(batches, **options), 40)
        raise KeyboardInterrupt

    monkeypatch.setattr(embedding, "encode_batches", killed)
    with pytest.raises(KeyboardInterrupt):
        embed_texts(TEXTS, EmbedConfig(batch_size=2), cache=tmp_path, encoder=Counting(), engine=two)
    assert run_sql(store_of(tmp_path), "SELECT count(*) FROM checked_vectors") == [(64,)], "of whole batches"
    monkeypatch.setattr(embedding, "encode_batches", real)
    again, asked = encoded(tmp_path)
    assert asked == 36 and again == encoded(tmp_path / "whole")[0]


def test_what_fails_in_another_process_is_said_as_here(tmp_path):
    def refuses(texts):
        raise UnreadableFileError("the text encoder is not here.")

    def dies(texts):
        os.kill(os.getpid(), signal.SIGKILL)

    for encoder, said in (
        (refuses, r"^the text encoder is not here\.$"),
        (dies, r"^a process that encoded texts was killed, .* lower engine\.encoders, then run this again\.$"),
    ):
        with pytest.raises(HybridVAEError, match=said):
            embed_texts(
                TEXTS, EmbedConfig(batch_size=2), cache=tmp_path, engine=EngineConfig(encoders=2), encoder=encoder
            )


def test_processes_that_encode_end_with_the_one_that_began_them(tmp_path):
    script = f"""
import os, time
from pathlib import Path
from hybridvae.data.embedding import EmbedConfig, embed_texts
from hybridvae.data.engine import EngineConfig

def encode(texts):
    Path({str(tmp_path)!r}, f"{{os.getpid()}}.pid").touch()
    time.sleep(600)

texts = [f"text {{n}}" for n in range(100)]
two = EngineConfig(encoders=2)
embed_texts(texts, EmbedConfig(batch_size=2), cache=Path({str(tmp_path)!r}), encoder=encode, engine=two)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    finally:
        parent.kill()
        parent.wait()
    for process in [int(path.stem) for path in tmp_path.glob("*.pid")]:
        eventually(lambda process=process: not psutil.pid_exists(process))


@pytest.mark.parametrize(
    ("device", "gpus", "processes", "devices"),
    [
        ("cpu", 0, 0, ["cpu"]),
        ("cpu", 4, 2, ["cpu", "cpu"]),
        ("cuda", 1, 0, ["cuda"]),
        ("cuda", 3, 0, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", 2, 3, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda", 2, 1, ["cuda:0"]),
        ("mps", 0, 0, ["mps"]),
    ],
)
def test_each_process_has_a_device(monkeypatch, device, gpus, processes, devices):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert encoding.devices_for(device, processes) == devices


WRITER = """
import sys
from pathlib import Path
import numpy as np
from hybridvae.data import embedding
from hybridvae.data.embedding import EmbedConfig, embed_texts

embedding._SAVE_EVERY = 1
cache, start = Path(sys.argv[1]), Path(sys.argv[1], "start")
texts = [f"text {n}" for n in range(*map(int, sys.argv[2:]))]
encode = lambda texts: np.array([[len(text), 1.0, int(text[5:])] for text in texts], dtype=np.float32)
Path(cache, sys.argv[2]).touch()
while not start.exists():
    pass
embed_texts(texts, EmbedConfig(batch_size=1), cache=cache, encoder=encode)
"""


def test_two_processes_that_write_at_the_same_time_lose_nothing(tmp_path):
    """One encodes texts 0 to 299, the other 200 to 499, and each writes after every text."""
    bounds = (("0", "300"), ("200", "500"))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), *of], stderr=subprocess.PIPE) for of in bounds
    ]
    eventually(lambda: all((tmp_path / first).exists() for first, _ in bounds))
    (tmp_path / "start").touch()
    said = [writer.communicate()[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0] and "warning" not in "".join(said), said
    stored = run_sql(store_of(tmp_path), "SELECT text, vector, checksum FROM checked_vectors")
    expected = {_key(f"text {n}"): np.array([len(f"text {n}"), 1, n], dtype="f").tobytes() for n in range(500)}
    assert len(stored) == 500 and {text: vector for text, vector, _ in stored} == expected
    nobody = Counting(die_after=0)
    embed_texts([f"text {n}" for n in range(500)], EmbedConfig(), cache=tmp_path, encoder=nobody)
