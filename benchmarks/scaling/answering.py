"""Scores: judging users, and everyone's list."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.data.interactions import Targets
from hybridvae.evaluation.judge import judge as judged
from hybridvae.recommendations import Recommendations, write_lists
from hybridvae.seeds import random_generator
from scaling.drawn import drawn, untrained

Measured = dict[str, Any]
_NEGATIVES = 99  # of each target


def judge(folder: Path, *, users: int, items: int) -> Measured:
    """Judge users with a target each."""
    interactions = drawn(users, items)
    random = random_generator(1, "scale", "targets")
    targets: IntArray = random.integers(items, size=users)
    negatives = random.integers(items, size=(users, _NEGATIVES)).astype(np.int32)
    model = untrained(interactions)
    model.scores(np.arange(1))  # what happens once
    spent = 0.0

    def scores(users: IntArray) -> FloatArray:
        nonlocal spent
        begin = time.perf_counter()
        of_users = model.scores(users)
        spent += time.perf_counter() - begin
        return of_users

    start, used = time.perf_counter(), time.process_time()
    judged(scores, interactions, Targets(np.arange(users), targets, negatives, 1))
    whole = time.perf_counter() - start
    return {"seconds": whole, "seconds_of_scores": spent, "judge_processor_seconds": time.process_time() - used}


def lists(folder: Path, *, users: int, items: int) -> Measured:
    """Everyone's list of 20."""
    interactions = drawn(users, items)
    recommendations = Recommendations("hybridvae", untrained(interactions), interactions)
    start = time.perf_counter()
    rows = write_lists(folder / f"lists-{users}-{items}.parquet", recommendations, 20)
    seconds = time.perf_counter() - start
    (folder / f"lists-{users}-{items}.parquet").unlink()
    return {"seconds": seconds, "rows": rows}
