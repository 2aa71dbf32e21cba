"""What a model is fitted on and what it is asked for: sparse matrices around two vocabularies."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.errors import WRITTEN_AGAIN, BadDataError, UnreadableFileError
from hybridvae.files import read_arrays, read_batches, read_frame, read_table

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
Ages = TypeVar("Ages")  # an array or a tensor
_COLUMNS = {"user_index": np.int32, "item_index": np.int32, "rating": np.float32, "positive": np.bool_}


@dataclass(frozen=True)
class Interactions:
    """Ratings of U users on I items, as a model may see them.

    Attributes:
        positives: (U, I) float32 CSR, 1 where the user liked the item: the training signal.
        histories: (U, I) float32 CSR, the positives by age: 1 at the user's latest, 2 at the one before, and so on,
            in the order of time that `split` gave them.
        ratings: (U, I) float32 CSR, 1 to 5 where the user rated the item at all: *seen*, and so never
            recommended, liked or not.
        users, items: identifiers in the order of the rows and columns.
        titles: (I,) item titles, empty where there is no metadata.
        cold: (I,) 0 for an ordinary item; 1 or 2 for one whose interactions all lie in validation or test.
        item_vectors: (I, D) float32 text embeddings, where a model wants them.

    Raises:
        BadDataError: the matrices, the vocabularies and the vectors do not fit each other.
    """

    positives: sparse.csr_matrix
    histories: sparse.csr_matrix
    ratings: sparse.csr_matrix
    users: npt.NDArray[np.object_]
    items: npt.NDArray[np.object_]
    titles: npt.NDArray[np.object_]
    cold: IntArray
    item_vectors: FloatArray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.users), len(self.items))
        for name in ("positives", "histories", "ratings"):
            if (found := getattr(self, name).shape) != shape:
                raise BadDataError(
                    f"interactions: {name} is {found} and must be {shape}: a row a user, a column an item."
                )
        for name in ("titles", "cold", "item_vectors"):
            if (values := getattr(self, name)) is not None and len(values) != self.n_items:
                raise BadDataError(
                    f"interactions: {name} has {len(values)} rows for {self.n_items} items: give one each."
                )
        for name in ("users", "items"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise BadDataError(f"interactions: {name} names one of them twice: give each an id of its own.")
        if self.item_vectors is not None and not np.isfinite(self.item_vectors).all():
            raise BadDataError("interactions: item_vectors holds what is no finite number: encode the texts again.")

    @classmethod
    def without_users(cls, items: npt.NDArray[np.object_], titles: npt.NDArray[np.object_]) -> "Interactions":
        """A catalogue alone, of which nobody has chosen anything."""
        none = sparse.csr_matrix((0, len(items)), dtype=np.float32)
        cold = np.zeros(len(items), dtype=np.int64)
        return cls(none, none, none, np.empty(0, dtype=object), items, titles, cold)

    @property
    def n_users(self) -> int:
        """U."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.items)

    @property
    def text_dim(self) -> int:
        """D, of the item vectors; 0 where there are none."""
        return 0 if self.item_vectors is None else self.item_vectors.shape[1]

    @cached_property
    def item_counts(self) -> FloatArray:
        """(I,) how many users like each item."""
        return np.asarray(self.positives.sum(axis=0), dtype=np.float32).ravel()

    @property
    def warm(self) -> npt.NDArray[np.bool_]:
        """(I,) whether a model may know of the item: all but the cold ones whose interactions lie in later parts.

        Cold items are neither negatives nor alternatives in training: that nobody chose them says nothing.
        """
        known: npt.NDArray[np.bool_] = (self.cold == 0) | (self.item_counts > 0)
        return known


@dataclass(frozen=True)
class Targets:
    """T held-out positives and the negatives each is ranked among.

    Attributes:
        users, items: (T,) indices, ordered by user.
        candidates: (T, N) item indices of the negatives; -1 where a user left fewer items unrated, but never all.
        part: 1 for validation, 2 for test.
    """

    users: IntArray
    items: IntArray
    candidates: IntArray
    part: int


def read_interactions(
    fit: Path, *more: Path, upto: Part, vectors: Path | str | FloatArray | None = None
) -> Interactions:
    """Read the rows that `split` wrote, up to and including the part `upto`.

    Args:
        fit: the folder with both vocabularies and the rows of the training and the validation part.
        more: the folder `test`, for those who may look into it.
        vectors: the item vectors (I, D) or their file, for models that want them.
    """
    users, items = read_frame(fit / "users.parquet"), read_frame(fit / "items.parquet")
    rows = _read_rows([folder / "rows.parquet" for folder in (fit, *more)], upto)
    shape = (len(users), len(items))

    def matrix(owners: IntArray, columns: IntArray, values: FloatArray) -> sparse.csr_matrix:
        starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=shape[0]))])
        built = sparse.csr_matrix((values, columns, starts), shape=shape)
        built.sort_indices()
        return built

    liked = rows.pop("positive")
    owners, chosen = rows["user_index"][liked], rows["item_index"][liked]
    of_time = ages(np.unique(owners, return_counts=True)[1]).astype(np.float32)
    histories = matrix(owners, chosen, of_time)
    return Interactions(
        positives=sparse.csr_matrix((np.ones_like(of_time), histories.indices, histories.indptr), shape=shape),
        histories=histories,
        ratings=matrix(rows["user_index"], rows["item_index"], rows["rating"]),
        users=users["user_id"].to_numpy(dtype=object),
        items=items["item_id"].to_numpy(dtype=object),
        titles=items["title"].to_numpy(dtype=object),
        cold=items["cold"].to_numpy(),
        item_vectors=read_arrays(Path(vectors))["vectors"] if isinstance(vectors, Path | str) else vectors,
    )


def _read_rows(files: Sequence[Path], upto: Part) -> dict[str, npt.NDArray[Any]]:
    """The rows of these parts by user and then by time, as columns of (N,): a data frame would take five times as much.

    Each file is in that order; of several, the rows of a user are merged.

    Raises:
        UnreadableFileError: a file is damaged, or one alone is not in that order.
    """
    kept = _COLUMNS | {"position": np.int32}
    read: dict[str, list[npt.NDArray[Any]]] = {name: [np.empty(0, kind)] for name, kind in kept.items()}
    for file in files:
        for batch in read_batches(file, [*kept, "part"]):
            within = batch["part"].to_numpy() <= PARTS.index(upto)
            for name, kind in kept.items():
                read[name].append(batch[name].to_numpy(zero_copy_only=False)[within].astype(kind, copy=False))
    rows = {name: np.concatenate(read.pop(name)) for name in kept}
    owners, position = rows["user_index"], rows.pop("position")
    if len(files) > 1:
        order = np.lexsort((position, owners))
        return {name: rows.pop(name)[order] for name in list(rows)}
    same, back = owners[1:] == owners[:-1], position[1:] < position[:-1]
    if ((owners[1:] < owners[:-1]) | (same & back)).any():  # as in a file by another hand
        raise UnreadableFileError(f"{files[0]} is not in the order of users and time: {WRITTEN_AGAIN}.")
    return rows


def ages(lengths: IntArray) -> IntArray:
    """What the histories of (U,) lengths, one after the other and each with its latest item last, hold of ages: (N,).

    The latest item of each has age 1, the one before it age 2, and so on.
    """
    counted = np.repeat(np.cumsum(lengths), lengths)
    counted -= np.arange(len(counted))
    return counted


def recency_weights(ages: Ages, recency: float) -> Ages:
    """What items of such ages count, in NumPy or PyTorch: age^-recency, so 1 for the latest, whose age is 1.

    An item counts for less the longer ago it was (Ding & Li 2005, "Time Weight Collaborative Filtering"), but by its
    place in the user's order and not by the calendar: a month is long for one user and nothing for another.
    """
    weights: Ages = cast(Any, ages) ** -recency
    return weights


def by_recency(histories: sparse.csr_matrix, recency: float) -> sparse.csr_matrix:
    """What each item of a history counts, as `recency_weights` has it.

    Args:
        histories: (B, I) CSR of ages; where all are 1, nothing is known of the order and all count the same.
        recency: 0 counts all items the same.

    Returns:
        (B, I) float32 CSR.
    """
    weights = recency_weights(histories.data.astype(np.float32, copy=False), recency)
    return sparse.csr_matrix((weights, histories.indices, histories.indptr), shape=histories.shape)


def read_targets(folder: Path) -> Targets:
    """Read the targets and candidates of the part that a folder of `split` holds.

    Raises:
        UnreadableFileError: the file is damaged.
    """
    table = read_table(folder / "candidates.parquet")
    lists = table["candidates"].combine_chunks()
    lengths = np.diff(lists.offsets.to_numpy())
    candidates = np.full((len(lengths), lengths.max(initial=0)), -1, dtype=np.int32)
    candidates[np.arange(candidates.shape[1]) < lengths[:, None]] = lists.flatten().to_numpy()
    users, items = (table[name].to_numpy() for name in ("user_index", "item_index"))
    return Targets(users, items, candidates, int(table.schema.metadata[b"part"]))
