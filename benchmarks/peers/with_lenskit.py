"""LensKit: EASE."""

import numpy as np
import pandas as pd
import torch
from lenskit.data import from_interactions_df
from lenskit.knn import EASEScorer
from protocol import Answer, Data, Request, seconds_of, serve, versions, write_weights


def ease(request: Request) -> Answer:
    """Seconds of the fit, which inverts in single precision."""
    data = Data.read(request.data)
    torch.set_num_threads(request.threads)
    known = from_interactions_df(pd.DataFrame({"user_id": data.users, "item_id": data.items}))
    model = EASEScorer(regularization=request.parameters["regularization"])
    seconds, _ = seconds_of(lambda: model.train(known))
    weights = np.zeros((data.n_items, data.n_items), dtype=np.float32)
    items = model.items.ids()  # those that somebody chose
    weights[np.ix_(items, items)] = model.weights
    return {
        "seconds": [seconds],
        "scores": write_weights(request, weights),
        "versions": versions("lenskit", "torch", "numpy"),
    }


if __name__ == "__main__":
    serve({"ease": ease})
