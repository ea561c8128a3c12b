"""Exact tests of no difference, and the correction for having made several.

Sources: McNemar, Psychometrika 12 (1947) 153-157, as a binomial test on discordant pairs; Fisher's randomisation of
signs, its distribution computed in full by convolution; Barnard, Nature 156 (1945) 177, with the pooled Wald statistic;
Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
from scipy import optimize

from simrun.errors import UsageError
from simrun.results.statistics.intervals import Values

# scipy.stats, and scipy.signal that needs it, are half of the time and memory of a program that only shows results:
# the tests import them when they are called.

PERMUTATIONS = 20_000
"""Fewest random permutations of a test whose distribution is not enumerated."""

_GRID = 200_000
_DRAWN_AT_ONCE = 10_000_000
_ROUNDING = 1e-9
_LARGEST_RATIO = 720
_NUISANCE = np.concatenate([np.linspace(0.0005, 0.02, 40), np.linspace(0.02, 0.98, 193), np.linspace(0.98, 0.9995, 40)])

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairedCounts:
    """Outcomes of A and B on the same initial states.

    Attributes:
        both: both succeeded.
        only_a: only A succeeded.
        only_b: only B succeeded.
        neither: both failed.
    """

    both: int
    only_a: int
    only_b: int
    neither: int

    @classmethod
    def of(cls, a: Values, b: Values) -> PairedCounts:
        """Count outcomes (0 or 1), given in the same order of initial states.

        Raises:
            UsageError: the two differ in length, are empty, or hold something else than 0 and 1.
        """
        first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        if first.shape != second.shape or first.size == 0:
            raise UsageError(f"pairs need equally many outcomes of both, got {first.size} and {second.size}")
        if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
            raise UsageError("paired counts need outcomes of 0 or 1")
        return cls(
            both=int(np.sum(first * second)),
            only_a=int(np.sum(first * (1 - second))),
            only_b=int(np.sum((1 - first) * second)),
            neither=int(np.sum((1 - first) * (1 - second))),
        )

    @property
    def n(self) -> int:
        """Initial states."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        """Success rate of A less that of B."""
        return (self.only_a - self.only_b) / self.n


def mcnemar(counts: PairedCounts) -> float:
    """Two-sided p-value of the exact McNemar test: do A and B succeed on equally many of the same states?"""
    from scipy import stats

    discordant = counts.only_a + counts.only_b
    return float(stats.binomtest(counts.only_a, discordant, 0.5).pvalue) if discordant else 1.0


def sign_flips(contributions: Values) -> float:
    """Two-sided p-value of the sum of some numbers, when each may as well have the other sign.

    The distribution over all signs is computed in full where the numbers are whole multiples of one unit, as scores of
    chains, outcomes and their means over seeds are; otherwise they are rounded to a fine grid, and the p-value is made
    larger by as much as rounding may have changed it.
    """
    from scipy import signal, stats

    numbers = np.asarray(contributions, dtype=float)
    numbers = numbers[np.abs(numbers) > 1e-12]
    if numbers.size == 0:
        return 1.0
    sizes, counts = np.unique(np.round(np.abs(numbers), 12), return_counts=True)
    unit = _common_unit(sizes, counts)
    slack = 0.0
    if unit is None:
        unit = float(sizes @ counts) / _GRID
        slack = float(np.abs(sizes - unit * np.round(sizes / unit)) @ counts)
    steps = np.round(sizes / unit).astype(np.int64)
    distribution = np.ones(1)
    for step, count in zip(steps, counts, strict=True):
        if step == 0:
            continue
        chances = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        kept = np.zeros(step * count + 1)
        kept[::step] = chances
        if count < step:
            # Few large steps, as steps to success differ by: what is not zero is shifted and added.
            found = np.zeros(distribution.size + step * count)
            for times, chance in enumerate(chances):
                found[times * step : times * step + distribution.size] += chance * distribution
            distribution = found
        elif distribution.size * kept.size > 5e7:
            distribution = signal.fftconvolve(distribution, kept)
        else:
            distribution = np.convolve(distribution, kept)
    sums = np.abs(2 * np.arange(distribution.size) - (distribution.size - 1)) * unit
    observed = abs(float(numbers.sum())) - 2 * slack - 1e-9 * float(sizes @ counts)
    return float(min(1.0, max(0.0, distribution[sums >= observed].sum())))


def permutations(a: Sequence[Values], b: Sequence[Values], *, comparisons: int = 1, seed: int = 0) -> float:
    """Two-sided p-value of the difference of two means over tasks, when each task's scores may be exchanged.

    The difference is measured in its own standard error in each arrangement, so that the test keeps its size where
    the two differ in spread and in number too (Janssen, Statistics and Probability Letters 36 (1997) 9-21; Chung and
    Romano, Annals of Statistics 41 (2013) 484-507); it is exact where they are exchangeable.

    Args:
        a: the scores of A, task by task.
        b: the scores of B, for the same tasks.
        comparisons: how many are corrected together; more random permutations are drawn the more there are, so that
            the smallest possible p-value can still be significant. The observed arrangement is counted.
        seed: of the permutations.

    Raises:
        UsageError: a task without scores of both.
    """
    draws = max(PERMUTATIONS, 400 * comparisons)
    generator = np.random.default_rng(seed)
    difference, variance = np.zeros(draws + 1), np.zeros(draws + 1)
    for own, other in zip(a, b, strict=True):
        first, second = np.asarray(own, dtype=float), np.asarray(other, dtype=float)
        if first.size == 0 or second.size == 0:
            raise UsageError("a permutation test needs scores of both in every task")
        values, index = np.unique(np.concatenate([first, second]), return_inverse=True)
        counts = np.bincount(index)
        # Equal scores are exchangeable, so only how many of each value fall to A is drawn. The first row is observed.
        observed = np.bincount(index[: first.size], minlength=values.size)
        block = max(1, _DRAWN_AT_ONCE // values.size)
        starts = range(0, draws, block)
        sizes = [min(block, draws - start) for start in starts]
        arrangements = (generator.multivariate_hypergeometric(counts, first.size, size=size) for size in sizes)
        filled = 0
        for taken in chain([observed[None]], arrangements):
            rows = slice(filled, filled := filled + len(taken))
            for arranged, size, sign in ((taken, first.size, 1), (counts - taken, second.size, -1)):
                mean = arranged @ values / size
                difference[rows] += sign * mean
                variance[rows] += np.maximum(arranged @ values**2 / size - mean**2, 0.0) / max(size - 1, 1)
    differs = np.abs(difference) > _ROUNDING
    error = np.sqrt(np.where(variance > _ROUNDING**2, variance, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(differs, np.abs(difference) / error, 0.0)
    return float(np.mean(statistic >= statistic[0] * (1 - _ROUNDING)))


def barnard(successes_a: int, trials_a: int, successes_b: int, trials_b: int) -> float:
    """Two-sided p-value of Barnard's exact test on different states.

    The largest probability, over every success rate that both may share, of tables whose pooled Wald statistic is at
    least as large as the observed one.

    Raises:
        UsageError: impossible counts.
    """
    from scipy import stats

    for successes, trials in ((successes_a, trials_a), (successes_b, trials_b)):
        if trials <= 0 or not 0 <= successes <= trials:
            raise UsageError(f"{successes:g} successes in {trials:g} trials are impossible")
    if successes_a * trials_b == successes_b * trials_a:
        return 1.0
    if trials_a > trials_b:
        successes_a, trials_a, successes_b, trials_b = successes_b, trials_b, successes_a, trials_a
    own, other = np.arange(trials_a + 1), np.arange(trials_b + 1)
    observed = abs(float(pooled_wald(successes_a, trials_a, successes_b, trials_b))) - 1e-9
    # For each count of the smaller sample the extreme counts of the other are those below one and those above another.
    low, high = np.full(own.size, -1), np.full(own.size, trials_b + 1)
    for count in own:
        statistic = pooled_wald(count, trials_a, other, trials_b)
        low[count] = int((statistic >= observed).sum()) - 1
        high[count] = trials_b + 1 - int((statistic <= -observed).sum())

    def probability(rate: float) -> float:
        tails = stats.binom.cdf(low, trials_b, rate) + stats.binom.sf(high - 1, trials_b, rate)
        return float(stats.binom.pmf(own, trials_a, rate) @ tails)

    values = [probability(rate) for rate in _NUISANCE]
    best = int(np.argmax(values))
    bounds = (_NUISANCE[max(0, best - 1)], _NUISANCE[min(len(values) - 1, best + 1)])
    refined = optimize.minimize_scalar(lambda rate: -probability(rate), bounds=bounds, method="bounded")
    return float(min(1.0, max(values[best], -refined.fun)))


def pooled_wald(successes_a: npt.ArrayLike, trials_a: int, successes_b: npt.ArrayLike, trials_b: int) -> Array:
    """The difference of two rates in units of its standard error under a common rate; 0 where that is 0."""
    a, b = np.asarray(successes_a, dtype=float), np.asarray(successes_b, dtype=float)
    pooled = (a + b) / (trials_a + trials_b)
    error = np.sqrt(pooled * (1 - pooled) * (1 / trials_a + 1 / trials_b))
    difference = a / trials_a - b / trials_b
    found: Array = np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for having made several comparisons (Holm); in the order given."""
    order = np.argsort(p_values)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for position, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _common_unit(sizes: Array, counts: npt.NDArray[np.int64]) -> float | None:
    """The largest unit, down to a 720th of the smallest number, of which all numbers are whole multiples."""
    for divisor in range(1, _LARGEST_RATIO + 1):
        unit = float(sizes[0]) / divisor
        ratios = sizes / unit
        if float(ratios @ counts) > _GRID:
            return None
        if np.all(np.abs(ratios - np.round(ratios)) < 1e-7):
            return unit
    return None
