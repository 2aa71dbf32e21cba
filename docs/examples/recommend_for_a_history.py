"""Recommend for a history that is in no data set, and say why, with the model that `train` shipped.

    python docs/examples/recommend_for_a_history.py data/train/ml-100k/hybridvae 50 181 172

After the folder come item ids, the latest last.
"""

import sys

from hybridvae import load_model

if len(sys.argv) < 3:
    print("usage: python docs/examples/recommend_for_a_history.py data/train/ml-100k/ease 50 181 172", file=sys.stderr)
    sys.exit(2)
folder, *history = sys.argv[1:]
model = load_model(folder)
best = model.recommend(history, k=5)
print(best.to_string(index=False))

# What each item of the history adds to the score of each recommended one: the model is asked again without it.
given = model.history(history)
added = model.reasons(given, model.indices(best["item_id"].tolist()))  # (items of the history, recommended items)
names = [title or item for title, item in zip(model.known.titles, model.known.items, strict=True)]
for place, item in enumerate(model.indices(best["item_id"].tolist())):
    strongest = given.indices[added[:, place].argmax()]
    print(f"{names[item]}: because of {names[strongest]}")
