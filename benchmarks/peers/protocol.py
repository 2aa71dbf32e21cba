"""How `measure.py` and the programs `with_*.py` talk: a request in JSON, arrays beside it, an answer in JSON.

Each of these programs runs one work with one library, in a process and an environment of its own. The environment need
not have this project's packages, so that this file takes nothing but NumPy.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Answer = dict[str, Any]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Request:
    """What a program is asked for.

    Attributes:
        work: one of `works.WORKS`.
        parameters: of the model, in words that no library owns; each program translates them.
        epochs: to train for, where the model is trained in epochs.
        folder: for what the program writes.
        data: `interactions.npz`, which `Data.read` reads.
        split, vectors: the folder `fit` of `data/split`, and the item vectors, for this project's own program.
    """

    work: str
    parameters: dict[str, Any]
    epochs: int
    threads: int
    folder: str
    data: str
    split: str = ""
    vectors: str = ""


@dataclass(frozen=True)
class Data:
    """The training part, and the held-out positives of the validation part, as index pairs.

    Attributes:
        users, items: (N,) of the training positives, ordered by user and then by time.
        held_users, held_items: (T,) of the held-out ones.
    """

    n_users: int
    n_items: int
    users: Ints
    items: Ints
    held_users: Ints
    held_items: Ints

    @classmethod
    def read(cls, path: str) -> "Data":
        """Read what `write` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            sizes = stored["sizes"].tolist()
            return cls(*sizes, *(stored[name] for name in ("users", "items", "held_users", "held_items")))

    def write(self, path: Path) -> None:
        """Write as NumPy's own archive, which every environment can read."""
        sizes = np.array([self.n_users, self.n_items])
        pairs = {"users": self.users, "items": self.items, "held_users": self.held_users, "held_items": self.held_items}
        np.savez(path, allow_pickle=False, sizes=sizes, **pairs)


def write_factors(request: Request, users: Floats, items: Floats) -> str:
    """Write vectors (U, D) and (I, D) whose products are the scores; returns the path for the answer's `scores`."""
    return _write(request, users=users, items=items)


def write_weights(request: Request, weights: Floats) -> str:
    """Write a matrix (I, I) with which the scores are history @ weights; returns the path."""
    return _write(request, weights=weights)


def _write(request: Request, **arrays: Floats) -> str:
    path = Path(request.folder, "scores.npz")
    np.savez(path, allow_pickle=False, **{name: np.asarray(array, np.float32) for name, array in arrays.items()})
    return str(path)


def versions(*packages: str) -> dict[str, str]:
    """Package -> version, of those that are installed here."""
    return {package: version(package) for package in packages}


def seconds_of(call: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call took, and what it returned."""
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def serve(works: dict[str, Callable[[Request], Answer]]) -> None:
    """Do the work that the request (first argument) names, and write the answer (second argument).

    An answer has `seconds`, a list, `versions`, and where there are scores to be judged their path in `scores`.
    """
    request = Request(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    answer = Path(sys.argv[2])
    sys.argv[1:] = []  # RecBole reads the command line too
    answer.write_text(json.dumps(works[request.work](request)), encoding="utf-8")
