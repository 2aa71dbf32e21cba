"""How sure a figure is: bootstrap intervals, paired permutation tests, Holm's correction.

Everything works on per-user values, so that it can be computed again without scoring. `weights` are the
numbers of targets for figures that are means over targets, and ones for means over users.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_BLOCK = 1 << 22  # random numbers held at a time


def bootstrap_means(values: Floats, weights: Floats, *, resamples: int, random: np.random.Generator) -> Floats:
    """(R, M) weighted means of as many resamples of the users (Efron 1979).

    Args:
        values: (U, M) per-user values; weights: (U, M) or (U, 1).
    """
    n_users = len(values)
    weights = np.broadcast_to(weights, values.shape)
    stacked = np.hstack([values * weights, weights])  # one matrix product gives numerators and denominators
    sums = np.empty((resamples, stacked.shape[1]))
    for row in range(resamples):
        times_drawn = np.bincount(random.integers(n_users, size=n_users), minlength=n_users)
        sums[row] = times_drawn @ stacked
    width = values.shape[1]
    return sums[:, :width] / sums[:, width:]


def bootstrap_intervals(
    values: Floats, weights: Floats, *, resamples: int, random: np.random.Generator, level: float = 0.95
) -> tuple[Floats, Floats, Floats]:
    """Percentile intervals of M weighted means, by resampling users (Efron 1979).

    Args:
        values: (U, M) per-user values; weights: (U, M) or (U, 1).

    Returns:
        mean, low and high, each (M,).
    """
    means = bootstrap_means(values, weights, resamples=resamples, random=random)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    weights = np.broadcast_to(weights, values.shape)
    mean = (values * weights).sum(axis=0) / weights.sum(axis=0)
    return mean, low, high


def gain_interval(
    before: Floats, after: Floats, weights: Floats, *, resamples: int, random: np.random.Generator, level: float = 0.95
) -> tuple[float | None, float | None]:
    """Percentile interval of a relative gain, the ratio of two weighted means less 1, by resampling users.

    Args:
        before, after: (U,) values of the same users, none below 0; weights: (U,).

    Returns:
        low and high; None for a bound that lies among resamples whose mean `before` is 0, which bound no gain.
    """
    values = np.stack([before, after], axis=1)
    first, second = bootstrap_means(values, weights[:, None], resamples=resamples, random=random).T
    # Of a resample with nothing in either the gain is 0, with nothing before alone it is beyond any number.
    ratios = np.divide(second, first, out=np.where(second > 0, np.inf, 1.0), where=first > 0)
    with np.errstate(invalid="ignore"):  # between two infinities there is no number: it is no bound either
        low, high = np.quantile(ratios - 1, [(1 - level) / 2, (1 + level) / 2])
    return (float(low) if np.isfinite(low) else None), (float(high) if np.isfinite(high) else None)


def sign_flip_p(differences: Floats, *, permutations: int, random: np.random.Generator) -> float:
    """Two-sided p of a paired sign-flip permutation test (Fisher 1935), never below 1 / (permutations + 1).

    Args:
        differences: (U,) paired differences, each times its weight; under the null hypothesis the sign
            of each is a coin's.
    """
    n_users = len(differences)
    observed = abs(differences.sum())
    # Sums that should be equal differ in the last bits with the order of adding: that is no difference.
    threshold = observed - 1e-9 * max(1.0, np.abs(differences).sum())
    at_least = 0
    rows = max(1, _BLOCK // n_users)
    for start in range(0, permutations, rows):
        signs = random.integers(0, 2, size=(min(rows, permutations - start), n_users), dtype=np.int8) * 2 - 1
        at_least += int((np.abs(signs @ differences) >= threshold).sum())
    return (at_least + 1) / (permutations + 1)


def effect_size(differences: Floats, weights: Floats) -> float:
    """Cohen's d of paired differences (d_z): their mean over their standard deviation; 0 where none differ.

    Args:
        differences: (U,), and weights: (U,) of the users, for mean and deviation alike.
    """
    n_users = len(differences)
    mean = float(np.average(differences, weights=weights))
    variance = np.average((differences - mean) ** 2, weights=weights) * n_users / max(n_users - 1, 1)
    return mean / float(np.sqrt(variance)) if variance > 0 else 0.0


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979) of a family of tests, in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - place)))
        corrected[index] = highest
    return corrected
