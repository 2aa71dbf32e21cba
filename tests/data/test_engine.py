"""What prepares data: DuckDB as its parameters say, and what is said where Spark cannot run."""

import inspect
import re
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT

from hybridvae.data import spark, sql
from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.engine import DUCKDB, EngineConfig, open_engine
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.errors import BadParameterError
from hybridvae.files import sha256_of


def test_a_table_is_made_of_its_own_rows_and_written_in_order(tmp_path):
    pq.write_table(pa.table({"a": [3, 1, 2]}), tmp_path / "it's.parquet")
    with open_engine(DUCKDB) as tables:
        tables.register(given=tmp_path / "it's.parquet")
        tables.create("kept", "SELECT a FROM given")
        tables.create("kept", "SELECT a FROM kept WHERE a >= $least", {"least": 2})
        assert tables.query("SELECT MIN(a) AS least, COUNT(*) AS rows FROM kept") == [{"least": 2, "rows": 2}]
        tables.write("SELECT a FROM kept ORDER BY a", tmp_path / "out.parquet")
        folder = tables.folder
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [{"a": 2}, {"a": 3}]
    assert not folder.exists()


def test_memory_cores_and_folder_change_no_byte(raw, tmp_path):
    def hashes(engine, into):
        clean(raw, into / "clean", CleanConfig(), engine)
        split(into / "clean", into / "split", SplitConfig(), engine)
        return {path.relative_to(into): sha256_of(path) for path in into.rglob("*.parquet")}

    (tmp_path / "scratch").mkdir()
    small = EngineConfig(memory=512, cores=1, folder=str(tmp_path / "scratch"))
    assert hashes(DUCKDB, tmp_path / "one") == hashes(small, tmp_path / "two")
    assert not list((tmp_path / "scratch").iterdir())


def test_no_stage_runs_again_for_another_engine():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    params = {name: [param for param in stage["params"] if isinstance(param, str)] for name, stage in stages.items()}
    assert "clean" in params["clean"]
    assert not [name for name, of_stage in params.items() if any(param.startswith("engine") for param in of_stage)]


def test_duckdb_gets_its_memory_and_cores():
    with open_engine(EngineConfig(memory=2000, cores=1)) as tables:
        found = tables.query("SELECT current_setting('memory_limit') AS memory, current_setting('threads') AS cores")
    assert found == [{"memory": "1.8 GiB", "cores": 1}]


def test_without_pyspark_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setitem(sys.modules, "py4j", None)
    monkeypatch.setitem(sys.modules, "py4j.protocol", None)
    said = r"pyspark is not installed: run `pip install 'hybridvae\[spark\]'`, or set engine.name to duckdb\.$"
    with pytest.raises(BadParameterError, match=said), open_engine(EngineConfig(name="spark")):
        pass


def test_without_java_it_is_said_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(BadParameterError, match=r"JAVA_HOME \(.*\) has no java: install Java 17 or newer, or set"):
        spark._session(EngineConfig(name="spark"), tmp_path)
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadParameterError, match=r"PATH has no java: install"):
        spark._session(EngineConfig(name="spark"), tmp_path)


def test_what_leads_nowhere_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"master is 'localhost': use local, spark://HOST:PORT, yarn or k8s://ADDRESS"):
        EngineConfig(master="localhost")
    gone = EngineConfig(folder=str(tmp_path / "gone"))
    with pytest.raises(BadParameterError, match=r"is '.*gone': there is no such folder; make it"), open_engine(gone):
        pass


def test_queries_keep_to_what_the_engines_have_in_common():
    code = inspect.getsource(sql).partition('"""\n\n')[2]
    assert code.count("SELECT") > 50
    assert not re.search(r"TRIM\((?!BOTH )", code), "with a comma, Spark takes the arguments the other way round"
    assert not re.search(r"\bCREATE\b|read_parquet|\[\]|::|\bLIST\(", code)
    numbers = re.findall(r"(.{0,5})ROW_NUMBER\(\) OVER \([^)]*\) - 1", code)
    assert len(numbers) == 2 and all(before.endswith("CAST(") for before in numbers), "bigint there, int here"
