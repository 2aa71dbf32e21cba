"""Arrays as models pass them on: their types, their hash, what a user has seen masked, the best k of many scores."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
FloatArray: TypeAlias = npt.NDArray[np.float32]

Outcome = TypeVar("Outcome")

_USERS = 128  # that a model is asked for at least: a matrix product for 16 takes over twice as long a user ...
_MOST = 1 << 26  # ... while that is no more than so many scores (256 MB)
_CACHED = 1 << 18  # scores, 1 MB: what is done to so many, step after step, finds them in the processor's cache
_GROUP = 64  # scores of which only the highest is looked at first
_FEW = 16  # times k: so many scores of a row are sorted, at most


def arrays_sha256(*arrays: npt.NDArray[Any] | None) -> str:
    """A hash (64 hexadecimal digits) over types, shapes and bytes of the arrays, in this order; None is no array."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(b"none;" if array is None else f"{array.dtype.str} {array.shape};".encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def users_at_a_time(items: int, scores: int) -> int:
    """For how many users to ask a model at once, which gives each a score for all items: about `scores` together."""
    return max(scores // items, min(_USERS, _MOST // items), 1)


def over_rows(work: Callable[[slice], Outcome], shape: tuple[int, int]) -> list[Outcome]:
    """What `work` makes of each block of rows of a matrix, in order: blocks that stay in the cache, on all cores.

    NumPy lets other threads run meanwhile. As many run as OMP_NUM_THREADS says, by default one a core.
    """
    rows, columns = shape
    step = max(1, _CACHED // max(1, columns))
    blocks = [slice(begin, min(begin + step, rows)) for begin in range(0, rows, step)]
    threads = min(_threads(), len(blocks))
    if threads < 2:
        return [work(block) for block in blocks]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, blocks))


def _threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    from joblib import cpu_count  # type: ignore[import-untyped]  # knows the limits of containers

    return int(cpu_count())


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
    best = _among_few(scores, k) if scores.shape[1] >= 2 * k * _GROUP else None
    return _among_all(scores, k) if best is None else best


def _among_few(scores: FloatArray, k: int) -> IntArray | None:
    """`top_k` of long rows: by what reaches the k-th highest of the maxima of groups, which k scores do at least.

    It takes a tenth of the time of `_among_all`, but where too many scores reach that, as where most are equal: None.
    """
    users, items = scores.shape
    groups = items // _GROUP  # of columns that lie `groups` apart, so that the maxima are taken over whole stretches
    maxima = scores[:, : groups * _GROUP].reshape(users, _GROUP, groups).max(axis=1)
    reached = scores >= np.partition(maxima, -k, axis=1)[:, -k, None]
    if np.count_nonzero(reached) > _FEW * k * users:
        return None
    found = np.flatnonzero(reached)
    rows, columns = np.divmod(found, items)
    order = np.lexsort((-scores[rows, columns], rows))  # stable: of equal scores the lower column first
    starts = np.searchsorted(rows, np.arange(users))
    best: IntArray = columns[order[starts[:, None] + np.arange(k)]]
    return best


def _among_all(scores: FloatArray, k: int) -> IntArray:
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
