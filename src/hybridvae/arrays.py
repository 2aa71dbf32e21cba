"""Arrays as models pass them on: their types, their hash, what a user has seen masked, the best k of many scores."""

import hashlib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
FloatArray: TypeAlias = npt.NDArray[np.float32]


def arrays_sha256(*arrays: npt.NDArray[Any] | None) -> str:
    """A hash (64 hexadecimal digits) over types, shapes and bytes of the arrays, in this order; None is no array."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(b"none;" if array is None else f"{array.dtype.str} {array.shape};".encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def mask_seen(scores: FloatArray, seen: sparse.csr_matrix) -> None:
    """Set to -inf, in place, what no list may hold: of each row of `scores` (B, I) what is stored in that of `seen`."""
    scores[np.repeat(np.arange(len(scores)), np.diff(seen.indptr)), seen.indices] = -np.inf


def top_k(scores: FloatArray, k: int) -> IntArray:
    """The columns of the k highest scores in each row, best first; of equal scores the lower column first.

    Args:
        scores: (B, I) float32 without NaN; -inf is lowest.

    Returns:
        (B, min(k, I)) int64.
    """
    k = min(k, scores.shape[1])
    # The k-th highest score of each row: what is above it is in, of what equals it the first columns are.
    threshold = np.partition(scores, -k, axis=1)[:, -k, None]
    chosen = scores >= threshold
    if np.count_nonzero(chosen) > k * len(scores):
        equal = scores == threshold
        room = k - np.count_nonzero(scores > threshold, axis=1, keepdims=True)
        chosen &= ~equal | (np.cumsum(equal, axis=1, dtype=np.int32) <= room)
    columns = (np.flatnonzero(chosen) % scores.shape[1]).reshape(len(scores), k)  # np.nonzero takes nine times as long
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    best: IntArray = np.take_along_axis(columns, order, axis=1)
    return best
