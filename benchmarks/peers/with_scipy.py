"""The machine's own dense inverse, through LAPACK: what a fit of EASE cannot do without."""

import numpy as np
from protocol import Answer, Data, Request, seconds_of, serve, versions
from scipy.linalg.lapack import dpotrf, dpotri


def ease(request: Request) -> Answer:
    """Seconds of the inverse of a positive definite matrix of all items with all items, in double precision."""
    size = Data.read(request.data).n_items
    matrix = np.full((size, size), 0.01, order="F")
    matrix[np.diag_indices(size)] += request.parameters["regularization"]

    def inverse() -> None:
        factor, _ = dpotrf(matrix, lower=False, clean=False, overwrite_a=True)
        dpotri(factor, lower=False, overwrite_c=True)

    seconds, _ = seconds_of(inverse)
    return {"seconds": [seconds], "scores": None, "versions": versions("scipy", "numpy")}


if __name__ == "__main__":
    serve({"ease": ease})
