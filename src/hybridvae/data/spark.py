"""Spark as an engine: every table is Parquet in one folder, which all machines of a cluster must see.

A table that is written and read again ends the plan that leads to it, so that rounds of the k-core and the steps of a
split are not planned, or computed, anew for each that follows. Rows leave in parts that Spark has ordered, and are put
into one file here.
"""

import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hybridvae.errors import BadParameterError, HybridVAEError
from hybridvae.files import atomic_path

if TYPE_CHECKING:
    from hybridvae.data.engine import EngineConfig, Values

# From all rows of some users to tables, each of the part with the number before it.
PerUser = Callable[[pd.DataFrame], Iterator[tuple[int, pa.Table]]]
# From the rows of one process, in parts, to others.
OfRows = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

_USERS = 4096  # whose rows a Python process of Spark works on at a time
_ROWS = 122_880  # of a row group, as DuckDB has it
_OTHERWISE = "or set engine.name to duckdb"


@contextmanager
def open_spark(config: "EngineConfig", folder: Path) -> Iterator["Spark"]:
    """A Spark session of its own, whose tables lie in the folder.

    Raises:
        BadParameterError: pyspark or Java is not there, or Spark does not start.
        HybridVAEError: Spark failed later.
    """
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
    except ImportError:
        raise BadParameterError(
            f"engine.name is spark, but pyspark is not installed: run `pip install 'hybridvae[spark]'`, {_OTHERWISE}."
        ) from None
    session = _session(config, folder)
    try:
        yield Spark(session, folder)
    except (PySparkException, Py4JError) as error:
        raise HybridVAEError(_sentence(error)) from error
    finally:
        session.stop()


def _session(config: "EngineConfig", folder: Path) -> Any:
    home = os.environ.get("JAVA_HOME")
    if not shutil.which("java", path=str(Path(home) / "bin") if home else None):
        raise BadParameterError(
            f"engine.name is spark, but {f'JAVA_HOME ({home})' if home else 'PATH'} has no java: install Java 17 or "
            f"newer, {_OTHERWISE}."
        )
    from pyspark.sql import SparkSession

    # It may fail with pandas 3, as it says; here it is asked for Arrow's tables alone.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)

    alone = config.master == "local"
    options = {
        "spark.driver.memory": f"{config.memory}m",
        "spark.executor.memory": f"{config.memory}m",
        "spark.local.dir": str(folder / "spill"),
        "spark.log.level": "ERROR" if alone else "WARN",  # a cluster without free workers only warns
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if alone:
        options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        options["spark.sql.shuffle.partitions"] = str(4 * (config.cores or os.cpu_count() or 1))  # 200 by default
    elif config.cores:
        options["spark.cores.max"] = str(config.cores)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("hybridvae").master(
        f"local[{config.cores or '*'}]" if alone else config.master
    )
    for name, value in options.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:  # whatever Spark and its bridge to Java raise where they do not start
        raise BadParameterError(
            f"Spark does not start at engine.master {config.master} ({_words(error)}): see above what it says; it "
            f"needs Java 17 or newer and a master that answers, {_OTHERWISE}."
        ) from error
    # It warns, often, that rows are numbered by one process, which numbers that go through all rows take.
    log = session._jvm.org.apache.logging.log4j
    log.core.config.Configurator.setLevel("org.apache.spark.sql.execution.window.WindowExec", log.Level.ERROR)
    return session


class Spark:
    """Queries by Spark, over tables in a folder."""

    def __init__(self, session: Any, folder: Path) -> None:
        self.folder = folder
        self._session = session
        self._numbers = count()
        self._stored: dict[str, Path] = {}

    def register(self, **tables: Path) -> None:
        """As `Engine` has it."""
        for name, path in tables.items():
            self._read(path).createOrReplaceTempView(name)

    def create(self, name: str, query: str, values: "Values | None" = None) -> None:
        """As `Engine` has it."""
        stored = self._store(self._rows(query, values))
        self.register(**{name: stored})
        if before := self._stored.get(name):
            shutil.rmtree(before)
        self._stored[name] = stored

    def query(self, query: str, values: "Values | None" = None) -> list[dict[str, Any]]:
        """As `Engine` has it."""
        return [row.asDict() for row in self._rows(query, values).collect()]

    def write(self, query: str, path: Path, values: "Values | None" = None) -> None:
        """As `Engine` has it."""
        stored = self._store(self._rows(query, values))
        schema = pq.read_schema(_parts(stored)[0]).remove_metadata()
        with atomic_path(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for batch in _batches(stored):
                writer.write_batch(batch.cast(schema))
        shutil.rmtree(stored)

    def per_user(self, work: PerUser, files: tuple[Path, ...], schema: pa.Schema) -> Iterator[tuple[int, pa.Table]]:
        """What `work` makes of the rows of all users, in their order, by Python processes of Spark wherever these are.

        Args:
            files: Parquet, with `user_index` and `position`, by which `work` gets the rows of some users ordered.
            schema: of its tables.
        """
        from pyspark.sql.functions import col, floor
        from pyspark.sql.pandas.types import from_arrow_schema

        _send_this_package()
        numbered = _numbered(schema)
        groups = self._read(*files).withColumn("block", floor(col("user_index") / _USERS)).groupBy("block")
        made = groups.applyInArrow(_of_block(work, numbered), from_arrow_schema(numbered))
        stored = self._store(made.orderBy("block", "place"))
        for batch in _batches(stored):
            for part in pc.unique(batch["part"]).to_pylist():
                table = pa.table(batch.filter(pc.equal(batch["part"], part)))
                yield part, table.select(schema.names).cast(schema)
        shutil.rmtree(stored)

    @property
    def cores(self) -> int:
        """How many Python processes work at a time."""
        return int(self._session.sparkContext.defaultParallelism)

    def map(self, rows: pa.Table, work: OfRows, schema: pa.Schema) -> pa.Table:
        """What `work` makes of the rows, dealt out to a Python process of Spark a core; in any order.

        Args:
            schema: of what `work` gives.
        """
        from pyspark.sql.pandas.types import from_arrow_schema

        _send_this_package()
        sent = self.folder / f"rows-{next(self._numbers)}.parquet"
        pq.write_table(rows, sent)
        # Arrow's tables and not pandas', as `mapInPandas` would have them: Spark does not promise to know pandas 3.
        made = self._read(sent).repartition(self.cores).mapInArrow(work, from_arrow_schema(schema))
        stored = self._store(made)
        table = pa.Table.from_batches(_batches(stored)).select(schema.names).cast(schema)
        shutil.rmtree(stored)
        sent.unlink()
        return table

    def _rows(self, query: str, values: "Values | None") -> Any:
        return self._session.sql(re.sub(r"\$(\w+)", r":\1", query), args=dict(values or {}))

    def _read(self, *paths: Path) -> Any:
        # Spark takes brackets and the like in the name of what it reads for a pattern.
        escaped = [re.sub(r"([\[\]{}*?\\])", r"\\\1", str(path.resolve())) for path in paths]
        return self._session.read.parquet(*(f"file://{path}" for path in escaped))

    def _store(self, rows: Any) -> Path:
        """A new folder with the rows, in parts whose names have their order."""
        stored = self.folder / f"table-{next(self._numbers)}"
        rows.write.parquet(f"file://{stored.resolve()}")
        return stored


def _send_this_package() -> None:
    """Send code by value, so that the processes need not have this package, and never have another version of it."""
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__.partition(".")[0]])


def _numbered(schema: pa.Schema) -> pa.Schema:
    numbers = {"block": pa.int64(), "place": pa.int64(), "part": pa.int8()}
    return pa.schema([*numbers.items(), *((field.name, field.type) for field in schema)])


def _of_block(work: PerUser, schema: pa.Schema) -> Callable[[pa.Table], pa.Table]:
    """`work` from the rows of a block of users to its results, numbered in their order."""

    def of_block(rows: pa.Table) -> pa.Table:
        pieces = [schema.empty_table()]
        for part, piece in work(rows.to_pandas().sort_values(["user_index", "position"])):
            begin = sum(map(len, pieces))
            numbers = {
                "block": pa.repeat(rows["block"][0], len(piece)),
                "place": pa.array(range(begin, begin + len(piece)), pa.int64()),
                "part": pa.repeat(pa.scalar(part, pa.int8()), len(piece)),
            }
            columns = numbers | dict(zip(piece.column_names, piece.columns, strict=True))
            pieces.append(pa.table(columns).cast(schema))
        return pa.concat_tables(pieces)

    return of_block


def _parts(stored: Path) -> list[Path]:
    return sorted(stored.glob("part-*.parquet"))


def _batches(stored: Path) -> Iterator[pa.RecordBatch]:
    for part in _parts(stored):
        with pq.ParquetFile(part) as file:
            yield from file.iter_batches(_ROWS)


def _sentence(error: Exception) -> str:
    """What Spark failed at; where it was code of this package, in its own words."""
    if ours := re.findall(r"hybridvae\.errors\.\w+: (.+)", str(error)):
        return str(ours[-1])
    return f"Spark failed ({_words(error)}): check memory, disk and the cluster, then run this again."


def _words(error: Exception) -> str:
    """What an error says after its class in brackets, or after a first line that names the call alone."""
    found = re.search(r"\[[A-Z_.]+\] (.+)|^: (.+)", str(error), re.MULTILINE) or re.search(r"(.+)", str(error))
    said = next(filter(None, found.groups())) if found else type(error).__name__
    return said[:300].rstrip(" .:")
