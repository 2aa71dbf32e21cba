"""Spark prepares what DuckDB prepares: the same rows in the same order, with the same types, and the same report."""

import shutil
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import DAY, NOW, review, write_lines

from hybridvae.data import embedding, encoding
from hybridvae.data import spark as spark_engine
from hybridvae.data.candidates import write_candidates
from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.embedding import EmbedConfig, embed_texts
from hybridvae.data.engine import DUCKDB, EngineConfig, open_engine
from hybridvae.data.item_text import TextConfig, gather_item_texts
from hybridvae.data.spark import Spark
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.errors import HybridVAEError

pytestmark = pytest.mark.spark

SPARK = EngineConfig(name="spark", cores=1)
CLEAN = CleanConfig(min_user_ratings=6, min_item_ratings=9)  # in several rounds
WORDS = ["Ärger", "ä", "z. ", " .a", "...", "", "名前", "\U0001f3b8 strings", "it's a 'quote'", "A $seed of :doubt"]
# What is compiled anew for each query costs more than it gains on tiny data.
SETTINGS = """
spark.sql.codegen.wholeStage false
spark.sql.codegen.factoryMode NO_CODEGEN
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
"""


@pytest.fixture(scope="module", autouse=True)
def settings(tmp_path_factory):
    if not shutil.which("java"):
        pytest.skip("there is no Java on this machine to run Spark in")
    folder = tmp_path_factory.mktemp("conf")
    (folder / "spark-defaults.conf").write_text(SETTINGS)
    # Spark's processes do without this package, as on the machines of a cluster.
    (folder / "absent").mkdir()
    (folder / "absent" / "hybridvae.py").write_text("raise ImportError('this package is not here')")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}/absent:$PYTHONPATH" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(folder))
        patch.setenv("PYSPARK_PYTHON", str(python))
        patch.setattr(spark_engine, "_USERS", 7)  # so that there are several blocks of users
        yield


def reviews(random):
    """Ratings on few days, so that many tie; pairs rated twice; users and items that the k-core drops in rounds."""
    records = []
    for user in range(40):
        for item in random.permutation(26)[: random.integers(2, 16)]:
            for _ in range(1 + (random.random() < 0.1)):
                words = dict(zip(("title", "text"), random.choice(WORDS, 2).tolist(), strict=True))
                rating, time = float(random.integers(2, 6)), NOW + int(random.integers(0, 12)) * DAY
                variant = {"parent_asin": f"p{item:02d}", "asin": f"v{item:02d}-{random.integers(0, 2)}"}
                records.append({**review(f"ü{user}", "", rating, time, **words), **variant})
    return [*records, review("nobody", "", parent_asin="p00", asin="v00-0"), review("", "v00-0")]


def metadata():
    """Of some items the product's, of others a variant's or none; two of one id; empty and missing fields."""
    products = [{"parent_asin": f"p{n:02d}", "title": f"Product {n}", "categories": ["Ä", "b"]} for n in range(10)]
    variants = [{"asin": f"v{n:02d}-{n % 2}", "title": f"Variant {n}", "brand": "B"} for n in range(8, 18)]
    return [
        *products,
        *variants,
        {"parent_asin": "p03", "title": "product 3"},
        {"asin": "v20-1", "description": ["x."]},
    ]


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    """The cleaned data of both engines, and what each reported."""
    folder = tmp_path_factory.mktemp("data")
    write_lines(folder / "raw" / "reviews.jsonl", reviews(np.random.default_rng(5)))
    write_lines(folder / "raw" / "metadata.jsonl", metadata())
    reports = [clean(folder / "raw", folder / engine.name, CLEAN, engine) for engine in (DUCKDB, SPARK)]
    return folder, reports


def assert_same_tables(folder, other):
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.parquet"))
    assert files and files == sorted(path.relative_to(other) for path in other.rglob("*.parquet"))
    for file in files:
        one, two = pq.read_table(folder / file), pq.read_table(other / file)
        assert [(field.name, field.type) for field in one.schema] == [(field.name, field.type) for field in two.schema]
        assert one.schema.metadata == two.schema.metadata
        assert one.to_pylist() == two.to_pylist(), file


def test_clean_gives_the_same(cleaned):
    folder, (one, two) = cleaned
    assert one == two
    assert one["duplicates"] > 10 and len(one["k_core_rounds"]) > 2 and 0 < one["described"] < one["items"]
    assert_same_tables(folder / "duckdb", folder / "spark")


@pytest.mark.parametrize(
    ("strategy", "ties"),
    [
        ("temporal", "drawn"),
        ("leave_one_out", "item_id"),
        ("global_temporal", "drawn"),
        ("cold_items", "item_id"),
    ],
)
def test_split_and_item_texts_give_the_same(cleaned, tmp_path, strategy, ties):
    config = SplitConfig(strategy=strategy, ties=ties, candidates=4, cold_share=0.2, validation_cut=0.5, test_cut=0.8)
    source = cleaned[0] / "duckdb"
    one, two = (split(source, tmp_path / engine.name, config, engine) for engine in (DUCKDB, SPARK))
    assert one == two
    assert_same_tables(tmp_path / "duckdb", tmp_path / "spark")
    if strategy == "temporal":
        assert one["share_of_users_with_tied_boundary"] > 0.05
        text = TextConfig(fields=("title", "brand", "categories", "description", "reviews"), max_reviews=3)
        texts, same = (gather_item_texts(source, tmp_path / "spark" / "fit", text, e) for e in (DUCKDB, SPARK))
        assert texts == same
        assert any(" Ärger." in one for one in texts) and any("$seed of :doubt" in one for one in texts)


def test_faults_are_one_sentence(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"half")
    with pytest.raises(HybridVAEError, match=r"^Spark failed \(.*a\.parquet"), open_engine(SPARK) as tables:
        tables.register(a=tmp_path / "a.parquet")


def test_a_defect_that_a_process_of_spark_finds_is_in_its_own_words(cleaned, tmp_path):
    split(cleaned[0] / "duckdb", tmp_path, SplitConfig(candidates=4))
    shutil.copy(tmp_path / "fit" / "rows.parquet", tmp_path / "test" / "rows.parquet")
    with pytest.raises(HybridVAEError, match=r"^split: a \(user, item\) pair lies in two parts; .* report it\.$"):
        write_candidates(tmp_path / "fit", tmp_path / "test", count=4, seed=1, engine=SPARK)


def test_texts_are_encoded_to_the_same_vectors(tmp_path, monkeypatch):
    """In two rounds, of which the first is stored when the second is killed."""
    monkeypatch.setattr(encoding, "_ROUND", 12)
    monkeypatch.setattr(embedding, "_SAVE_EVERY", 4)
    config = EmbedConfig(batch_size=2)
    texts = [f"{WORDS[n % len(WORDS)]} {'guitar ' * (n % 7)}{n}" for n in range(40)]
    one = embed_texts(texts, config, cache=tmp_path / "duckdb")
    asked = []
    real = Spark.map

    def killed(self, rows, *rest):
        asked.append(len(rows))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(self, rows, *rest)

    monkeypatch.setattr(Spark, "map", killed)
    with pytest.raises(KeyboardInterrupt):
        embed_texts(texts, config, cache=tmp_path / "spark", engine=SPARK)
    two = embed_texts(texts, config, cache=tmp_path / "spark", engine=SPARK)
    assert asked == [12, 8, 8], "what was stored is not asked for again"
    np.testing.assert_allclose(two, one, atol=1e-5)


def test_an_encoder_that_a_process_of_spark_cannot_load_is_in_its_own_words(tmp_path):
    (tmp_path / "no-model").mkdir()
    config = EmbedConfig(model=str(tmp_path / "no-model"))
    with pytest.raises(HybridVAEError, match=r"^the text encoder '.*no-model' cannot be loaded \(.*\): check"):
        embed_texts(["a"], config, cache=tmp_path, engine=SPARK)
