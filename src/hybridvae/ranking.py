"""The best k of many scores, with ties broken the same way everywhere."""

import numpy as np

from hybridvae.interactions import FloatArray, IntArray


def top_k(scores: FloatArray, k: int) -> IntArray:
    """The columns of the k highest scores in each row, best first; of equal scores the lower column first.

    Args:
        scores: (B, I) float32 without NaN; -inf is lowest.

    Returns:
        (B, min(k, I)) int64.
    """
    n_items = scores.shape[1]
    k = min(k, n_items)
    # Floats as integers of the same order: positive floats already sort like their bits, and negative
    # ones do with all bits but the sign turned over. Adding 0.0 makes -0.0 and 0.0 equal.
    bits = (scores.astype(np.float32) + np.float32(0.0)).view(np.int32)
    order = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    # One unique key for (score, column): a plain partition then has no ties to break arbitrarily.
    keys = (order << 32) | (n_items - 1 - np.arange(n_items, dtype=np.int64))
    best = np.argpartition(keys, n_items - k, axis=1)[:, n_items - k :]
    sorting = np.argsort(-np.take_along_axis(keys, best, axis=1), axis=1)
    result: IntArray = np.take_along_axis(best, sorting, axis=1)
    return result
