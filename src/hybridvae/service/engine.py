"""Behind the service: models by name, users and items by id, texts and searches."""

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.checkpoint import describe_checkpoint, readable
from hybridvae.data.interactions import Interactions
from hybridvae.errors import HybridVAEError, UnreadableFileError, quoted
from hybridvae.files import read_arrays
from hybridvae.models import folds_in
from hybridvae.recommendations import Recommendations, aged, best
from hybridvae.service.batching import Ask, Served

if TYPE_CHECKING:
    import pyarrow as pa

    from hybridvae.approximate import Index


class Refused(Exception):
    """A request that cannot be answered: status, a code for programs and a sentence for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Engine:
    """Everything that a request may ask for.

    Attributes:
        known: the users with all they ever rated.
        default: the model that answers where a request names none.
    """

    def __init__(
        self,
        known: Interactions,
        *,
        dataset: str,
        checkpoints: dict[str, Path],
        default: str,
        positive_rating: float,
        vectors: Path | None = None,
        encoder: str = "",
        approximate: bool = False,
    ) -> None:
        """Load the default model and the vectors, and look whether the other models can be loaded.

        Args:
            checkpoints: model -> the folder that `train` wrote.
            positive_rating: items of a raw history that are rated lower were seen and not liked.
            vectors: file of the item vectors, where texts can be compared; `encoder` made them.
            approximate: search for lists, of each model whose scores are inner products; the default's must be.

        Raises:
            UnreadableFileError: the default model or the vectors cannot be read.
            BadParameterError: the default model cannot be searched approximately, or faiss is not installed.
        """
        self.known, self.dataset, self.default = known, dataset, default
        self.positive_rating = positive_rating
        self._checkpoints, self._vectors_file, self._encoder_name = checkpoints, vectors, encoder
        self._approximate = approximate
        self._served: dict[str, Served] = {}
        self._lock = threading.Lock()
        self._texts = ThreadPoolExecutor(1, thread_name_prefix="texts")
        self._encode: Any = None
        self._user_index = {user: index for index, user in enumerate(known.users)}
        self._item_index = {item: index for index, item in enumerate(known.items)}
        self.ratings_of_users = np.diff(known.ratings.indptr)
        order = np.lexsort((known.users.astype(str), -self.ratings_of_users))
        self.most_active: list[int] = order.tolist()
        self._folds_in: dict[str, bool] = {}
        self._problems: dict[str, str] = {}
        for name in checkpoints:
            self._inspect(name)
        if vectors is not None and vectors.is_file():
            with readable(vectors, "dvc repro embed"), safe_open(vectors, "np") as file:
                self._must_be_one_each(file.get_slice("vectors").get_shape())
        self.load(default)

    # --- who and what ---

    def user(self, user_id: str) -> int:
        """The index of a user.

        Raises:
            Refused: nobody is called so.
        """
        hint = "GET /users lists users, and a `history` of item ids needs none."
        return _look_up(self._user_index, user_id, "user", hint)

    def item(self, item_id: str) -> int:
        """The index of an item.

        Raises:
            Refused: the catalogue lacks it.
        """
        return _look_up(self._item_index, item_id, "item", "GET /items?query= searches the titles.")

    def has_user(self, user_id: str) -> bool:
        """Whether somebody is called so."""
        return user_id in self._user_index

    @property
    def model_names(self) -> list[str]:
        """The models that can be served, the default first."""
        return [self.default, *(name for name in self._checkpoints if name != self.default)]

    def is_loaded(self, name: str) -> bool:
        """Whether a model is in memory already."""
        return name in self._served

    def folds_in(self, name: str) -> bool | None:
        """Whether a model takes histories; None where its checkpoint does not say which model it is."""
        return self._folds_in.get(name)

    def problem(self, name: str) -> str | None:
        """Why a model cannot be asked: found when the service starts, as far as a look shows, or on its first use."""
        return self._problems.get(name)

    def _inspect(self, name: str) -> None:
        folder = self._checkpoints[name]
        try:
            model, _ = describe_checkpoint(folder, self.known)
            self._folds_in[name] = folds_in(model)
        except HybridVAEError as error:
            self._problems[name] = str(error)

    def load(self, name: str) -> Served:
        """A model by name, read on first use.

        Raises:
            Refused: there is none of the name. UnreadableFileError: its checkpoint cannot be read.
        """
        if name not in self._checkpoints:
            known = ", ".join(self._checkpoints)
            raise Refused(404, "unknown_model", f"there is no trained model {quoted(name)}: there are {known}.")
        with self._lock:
            if name not in self._served:
                try:
                    shop = Recommendations.load(self._checkpoints[name], self.known, device="cpu")
                    self._try(shop)
                except UnreadableFileError as error:
                    self._problems[name] = str(error)
                    raise
                self._problems.pop(name, None)
                self._folds_in[name] = shop.folds_in
                self._served[name] = Served(shop, self._index_of(shop))
        return self._served[name]

    def _index_of(self, shop: Recommendations) -> "Index | None":
        if self._approximate:
            from hybridvae.approximate import Index, is_by_product

            if shop.name == self.default or is_by_product(shop):
                return Index(shop)
        return None

    def _try(self, shop: Recommendations) -> None:
        """Ask a model once: what is damaged in a way that its reader does not see shows here."""
        with readable(self._checkpoints[shop.name], f"dvc repro train@{shop.name}"):
            scores = shop.model.scores(np.arange(1))
            if scores.shape != (1, self.known.n_items) or not np.isfinite(scores).all():
                raise ValueError("it does not give each item a number")

    async def served(self, name: str | None) -> Served:
        """As `load`, without holding up other requests."""
        name = name or self.default
        served = self._served.get(name)
        return served if served is not None else await asyncio.to_thread(self.load, name)

    # --- lists ---

    def ask_of_user(self, user: int, k: int, *, exclude_seen: bool, exclude: Sequence[int], because: bool) -> Ask:
        """What a known user asks for."""
        histories, ratings = self.known.histories, self.known.ratings
        own = slice(histories.indptr[user], histories.indptr[user + 1])
        left_out = np.array(exclude, dtype=np.int64)
        if exclude_seen:
            left_out = np.union1d(left_out, ratings.indices[ratings.indptr[user] : ratings.indptr[user + 1]])
        return Ask(user, histories.indices[own], histories.data[own], left_out, k, because)

    def ask_of_history(self, liked: Sequence[int], k: int, *, exclude: Sequence[int], because: bool) -> Ask:
        """What a raw history asks for.

        Args:
            liked: item indices, the latest last.
            exclude: item indices that must not come back, those of the history among them where it counts as seen.
        """
        return Ask(-1, *aged(liked), np.array(exclude, dtype=np.int64), k, because)

    # --- texts ---

    @cached_property
    def vectors(self) -> FloatArray:
        """(I, D) text vectors, as `embed_texts` gives them.

        Raises:
            Refused: there are none, or they were made meaningless on purpose.
            UnreadableFileError: their file is damaged, or of other items.
        """
        if self._vectors_file is None or not self._vectors_file.is_file():
            said = "there are no text vectors here that mean something: run `dvc repro embed` with embed.control: none."
            raise Refused(409, "no_vectors", said)
        with readable(self._vectors_file, "dvc repro embed"):
            vectors: FloatArray = read_arrays(self._vectors_file)["vectors"]
            self._must_be_one_each(vectors.shape)
        return vectors

    def _must_be_one_each(self, shape: Sequence[int]) -> None:
        if len(shape) != 2 or shape[0] != self.known.n_items:
            raise ValueError(f"it has an array of {tuple(shape)} for {self.known.n_items} items")

    def similar(self, query: FloatArray, k: int, *, without: int | None = None) -> tuple[list[int], list[float]]:
        """The k items of highest cosine with (D,) a normalised query, and the cosines."""
        exclude = None if without is None else np.array([without])
        lists = best((self.vectors @ query)[None], k, exclude=exclude)
        kept = lists.items[0] >= 0
        return lists.items[0][kept].tolist(), lists.scores[0][kept].tolist()

    async def encoded(self, text: str) -> FloatArray:
        """(D,) the normalised vector of a text; the first one takes as long as reading the encoder.

        Texts wait for each other on a thread of their own, where they hold up nobody else.

        Raises:
            Refused: the encoder cannot be loaded.
        """
        return await asyncio.get_running_loop().run_in_executor(self._texts, self._encode_text, text)

    def _encode_text(self, text: str) -> FloatArray:
        _ = self.vectors
        if self._encode is None:
            from hybridvae.data.embedding import load_encoder

            try:
                self._encode = load_encoder(self._encoder_name, "cpu")
            except UnreadableFileError as error:
                raise Refused(503, "no_encoder", str(error)) from None
        row = self._encode([text])[0]
        vector: FloatArray = row / max(float(np.linalg.norm(row)), 1e-12)
        return vector

    # --- search ---

    @cached_property
    def positives_of_items(self) -> IntArray:
        """(I,) how often each item was liked."""
        return self.known.item_counts.astype(np.int64)

    @cached_property
    def _best_liked(self) -> IntArray:
        order: IntArray = np.argsort(-self.positives_of_items, kind="stable")
        return order

    @cached_property
    def _titles_and_ids(self) -> "pa.Array":
        pairs = zip(self.known.titles, self.known.items, strict=True)
        return _searchable(f"{title} {item}" for title, item in pairs)

    @cached_property
    def _user_ids(self) -> "pa.Array":
        return _searchable(map(str, self.known.users))

    def find_items(self, query: str) -> list[int]:
        """Items whose title or id has every word of the query: those called just so, then the best liked first."""
        wanted = query.casefold().strip()
        found = self._best_liked[_having(self._titles_and_ids, wanted.split())[self._best_liked]].tolist()
        names = self.known.titles, self.known.items
        return sorted(found, key=lambda index: all(str(name[index]).casefold() != wanted for name in names))

    def find_users(self, query: str) -> list[int]:
        """Users whose id has the query in it: who is called just so, then the most active first."""
        wanted = query.casefold()
        if not wanted:
            return self.most_active
        order = np.array(self.most_active, dtype=np.int64)
        found = order[_having(self._user_ids, [wanted])[order]].tolist()
        return sorted(found, key=lambda index: str(self.known.users[index]).casefold() != wanted)

    @cached_property
    def ratings_of_items(self) -> tuple[IntArray, FloatArray]:
        """(I,) how often each item was rated, and (I,) the mean; nan where it never was."""
        counts = np.bincount(self.known.ratings.indices, minlength=self.known.n_items)
        sums = np.bincount(self.known.ratings.indices, weights=self.known.ratings.data, minlength=self.known.n_items)
        with np.errstate(invalid="ignore"):
            return counts, (sums / counts).astype(np.float32)


def _look_up(index: Mapping[str, int], name: str, kind: str, hint: str) -> int:
    if name not in index:
        raise Refused(404, f"unknown_{kind}", f"there is no {kind} {quoted(name)}: {hint}")
    return index[name]


def _searchable(names: Iterable[str]) -> "pa.Array":
    """Names as Arrow searches them, which takes a sixth of the time of Python and holds up no other thread."""
    import pyarrow as pa

    return pa.array([_bytes(name.casefold()) for name in names], pa.large_binary())


def _having(names: "pa.Array", words: Iterable[str]) -> npt.NDArray[np.bool_]:
    """(N,) which of the names have each of the words in them."""
    from pyarrow import compute

    having = np.ones(len(names), dtype=bool)
    for word in words:
        having &= compute.match_substring(names, _bytes(word)).to_numpy(zero_copy_only=False)
    return having


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a request may hold half of a pair, which no title has
