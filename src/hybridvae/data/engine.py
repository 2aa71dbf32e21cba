"""What runs the queries of `sql.py`: DuckDB in this process, or Spark on this machine or a cluster (`spark.py`)."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol

from hybridvae.config import CountOrZero, Parameters, Within
from hybridvae.errors import BadParameterError, quoted
from hybridvae.files import atomic_path

if TYPE_CHECKING:
    import duckdb

Values = Mapping[str, object]  # of the parameters of a query, by name

_MASTER = re.compile(r"local|spark://\S+|yarn|k8s://\S+")


@dataclass(frozen=True)
class EngineConfig(Parameters):
    """The block `engine` of params.yaml. It decides where data are prepared and texts encoded, and no value in them."""

    name: Literal["duckdb", "spark"] = "duckdb"
    memory: Annotated[int, Within(512, 10_000_000)] = 1000  # MB: of DuckDB; of Spark's driver and of each executor
    cores: CountOrZero = 0  # in all; 0 for as many as there are
    master: str = "local"  # of Spark
    folder: str = ""  # of what is written in between; empty for the system's temporary folder
    encoders: Annotated[int, Within(0, 1024)] = 0  # processes that encode texts; 0: one, or one a GPU

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _MASTER.fullmatch(self.master):
            raise ValueError(f"master is {quoted(self.master)}: use local, spark://HOST:PORT, yarn or k8s://ADDRESS.")
        if len(self.folder) > 1000:
            raise ValueError(f"folder is {quoted(self.folder)}: it must be a path of at most 1,000 characters.")


DUCKDB: Final = EngineConfig()


class Engine(Protocol):
    """Tables, queries over them, and files of their rows.

    Attributes:
        folder: for files of this work, seen by all machines that share it, and removed at its end.
    """

    folder: Path

    def register(self, **tables: Path) -> None:
        """Name Parquet files, or folders of them, as tables."""

    def create(self, name: str, query: str, values: Values | None = None) -> None:
        """Keep the rows of a query as a table, in place of one of the same name, which the query may read."""

    def query(self, query: str, values: Values | None = None) -> list[dict[str, Any]]:
        """The rows of a query that gives few, by the names of its columns."""

    def write(self, query: str, path: Path, values: Values | None = None) -> None:
        """Write the rows of a query, in its order, to one Parquet file, atomically."""


@contextmanager
def open_engine(config: EngineConfig) -> Iterator[Engine]:
    """The engine of a block of parameters, until the block of code ends.

    Raises:
        BadParameterError: it is not installed, cannot be started, or `engine.folder` is no folder.
    """
    with scratch_folder(config) as folder:
        if config.name == "spark":
            from hybridvae.data.spark import open_spark

            with open_spark(config, folder) as spark:
                yield spark
        else:
            import duckdb

            with closing(duckdb.connect(str(folder / "work.duckdb"))) as connection:
                yield DuckDB(connection, config, folder)


@contextmanager
def scratch_folder(config: EngineConfig) -> Iterator[Path]:
    """A folder for the files of one work, which is removed at its end.

    Raises:
        BadParameterError: `engine.folder` is no folder.
    """
    if config.folder and not Path(config.folder).is_dir():
        raise BadParameterError(f"engine.folder is {quoted(config.folder)}: there is no such folder; make it.")
    with TemporaryDirectory(prefix="hybridvae-", dir=config.folder or None) as folder:
        yield Path(folder)


def only_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of a query that gives one."""
    (row,) = rows
    return row


class DuckDB:
    """A throw-away database that spills to disk beyond its memory."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", config: EngineConfig, folder: Path) -> None:
        self.folder = folder
        self._connection = connection
        connection.execute(f"SET memory_limit = '{config.memory}MB'")
        connection.execute(f"SET temp_directory = '{_literal(folder / 'spill')}'")
        if config.cores:
            connection.execute(f"SET threads = {min(config.cores, os.cpu_count() or 1)}")

    def register(self, **tables: Path) -> None:
        """As `Engine` has it."""
        for name, path in tables.items():
            files = path / "*.parquet" if path.is_dir() else path
            self._connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{_literal(files)}')")

    def create(self, name: str, query: str, values: Values | None = None) -> None:
        """As `Engine` has it."""
        self._connection.execute(f"CREATE OR REPLACE TABLE {name} AS {query}", dict(values or {}))

    def query(self, query: str, values: Values | None = None) -> list[dict[str, Any]]:
        """As `Engine` has it."""
        found = self._connection.execute(query, dict(values or {}))
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def write(self, query: str, path: Path, values: Values | None = None) -> None:
        """As `Engine` has it; the same rows give the same bytes."""
        with atomic_path(path) as partial:
            target = f"TO '{_literal(partial)}' (FORMAT parquet, COMPRESSION zstd)"
            self._connection.execute(f"COPY ({query}) {target}", dict(values or {}))


def _literal(path: Path) -> str:
    return str(path).replace("'", "''")
