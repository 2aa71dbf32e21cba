"""Seeds derived from one root seed and a name.

Adding `1` to a seed makes the streams of two parts of a program overlap sooner or later. Here each
part names itself ("hybridvae", "fit", "epoch 7"), and NumPy's `SeedSequence` mixes the name into the
root seed, so that no part can disturb another and each can be drawn again alone.
"""

import hashlib

import numpy as np

from hybridvae.errors import BadParameterError


def _sequence(root: int, names: tuple[str | int, ...]) -> np.random.SeedSequence:
    if root < 0:
        raise BadParameterError(f"the seed {root} is negative: use 0 or more.")
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.SeedSequence([root, *np.frombuffer(digest, dtype="<u4").tolist()])


def derive_seed(root: int, *names: str | int) -> int:
    """A 63-bit seed for the part called `names`, for libraries that take an integer."""
    return int(_sequence(root, names).generate_state(1, np.uint64)[0] >> np.uint64(1))


def random_generator(root: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the part called `names`."""
    return np.random.Generator(np.random.PCG64(_sequence(root, names)))
