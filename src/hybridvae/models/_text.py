"""What models do with the text vectors of items before they use them."""

import numpy as np

from hybridvae.arrays import FloatArray


def whitened(vectors: FloatArray, power: float) -> FloatArray:
    """Centre item vectors and divide them, along each principal direction, by its deviation to the `power`.

    Sentence embeddings crowd in a cone around few directions; whitened ones tell texts apart better (Su et al.
    2021, "Whitening Sentence Representations for Better Semantics and Faster Retrieval", where power = 1).

    Args:
        vectors: (I, D).
        power: 0 returns the vectors as they are.

    Returns:
        (I, D), scaled to a mean length of 1.
    """
    if not power:
        return vectors
    centred = vectors.astype(np.float64)  # two such arrays are held at a time, and no third
    centred -= vectors.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    # Directions without variance, where there are fewer items than dimensions, must not be blown up.
    deviations = np.sqrt(np.maximum(variances / max(variances[-1], np.finfo(float).tiny), 1e-8))
    turned = centred @ (directions * deviations**-power)
    del centred
    turned = turned @ directions.T
    if length := np.linalg.norm(turned, axis=1).mean():
        turned /= length
    scaled: FloatArray = turned.astype(np.float32)
    return scaled
