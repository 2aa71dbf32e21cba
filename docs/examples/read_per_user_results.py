"""Read the results of every user that `evaluate` keeps: who gains by text, and how sure is it?

For example: python docs/examples/read_per_user_results.py data/evaluate/ml-100k hybridvae itemknn
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from hybridvae import bootstrap_intervals, random_generator

if len(sys.argv) != 4:
    print("usage: python docs/examples/read_per_user_results.py data/evaluate/ml-100k ease itemknn", file=sys.stderr)
    sys.exit(2)
folder, one, other = Path(sys.argv[1]), *sys.argv[2:4]
metric = "full/ndcg@10"
users = pd.DataFrame({name: pd.read_parquet(folder / name / "users.parquet")[metric] for name in (one, other)})
users["gain"] = users[one] - users[other]
print(users.describe().loc[["mean", "std", "min", "max"]].round(4).to_string())
better, worse = (users["gain"] > 0).mean(), (users["gain"] < 0).mean()
print(f"{one} is better for {better:.0%} of the users, {other} for {worse:.0%}")

gains = users[["gain"]].to_numpy()
mean, low, high = bootstrap_intervals(gains, np.ones_like(gains), resamples=1000, random=random_generator(1, "example"))
print(f"mean gain {mean[0]:+.4f}, 95 % interval {low[0]:+.4f} to {high[0]:+.4f}")

targets = pd.read_parquet(folder / one / "targets.parquet")
print(f"{(targets['full/rank'] <= 10).mean():.1%} of {len(targets)} targets are in {one}'s top ten")
