"""How many episodes are enough: for an interval of a given half-width, or to tell two policies apart.

Success rates: the power of the exact tests that tables use (McNemar's, Barnard's), summed over all outcomes. Mean
scores, several seeds and margins: the normal approximation, with the variance that is asked for. A chain's variance
follows from its average length where every subtask is as hard as the last one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from itertools import count

import numpy as np
from scipy import optimize, special, stats

from simrun.errors import UsageError
from simrun.results.statistics.exact_tests import pooled_wald
from simrun.results.statistics.intervals import LEVEL, wilson
from simrun.results.statistics.sequential import confidence_sequence

LARGEST_ENUMERATION = 500
"""Episodes of each policy up to which the power of Barnard's test is summed; beyond it the approximation agrees."""

_NUISANCE = np.concatenate([np.linspace(0.002, 0.05, 12), np.linspace(0.07, 0.93, 40), np.linspace(0.95, 0.998, 12)])
_LOOK_AHEAD = 12
_LARGEST_SUM = 20_000
"""States up to which McNemar's power is summed; beyond it the approximation is within 1%."""

_MOST_EPISODES = 1e12


def episodes_for_half_width(half_width: float, *, rate: float = 0.5, level: float = LEVEL) -> int:
    """Fewest episodes whose Wilson interval is no wider than plus or minus ``half_width`` around ``rate``.

    Args:
        half_width: wanted half-width, as a rate: 0.05 for 5 points.
        rate: success rate expected; 0.5 is the worst case.
        level: confidence level.

    Raises:
        UsageError: a number outside its range.
    """
    if not 0 < half_width < 0.5:
        raise UsageError(f"a half-width must lie between 0 and 50 points, got {100 * half_width:g}")
    _check_rate(rate)
    return _fewest(lambda n: wilson(rate * n, n, level).half_width <= half_width)


def states_needed(mean: float, half_width: float, level: float = LEVEL) -> int:
    """Initial states after which the anytime-valid interval is narrow enough, if the mean stays what it is.

    Args:
        mean: mean outcome, in [0, 1].
        half_width: wanted half-width, in [0, 1].
        level: confidence level.

    Raises:
        UsageError: no half-width that an interval can reach.
    """
    if not 0 < half_width < 1:
        raise UsageError(f"a half-width must lie between 0 and 100 points, got {100 * half_width:g}")
    return _fewest(lambda n: confidence_sequence(mean * n, n, level).half_width <= half_width)


def mcnemar_power(n: int, rate_a: float, rate_b: float, discordance: float, level: float = LEVEL) -> float:
    """Probability that McNemar's exact test finds the difference on ``n`` states, summed over all outcomes."""
    share = (1 + (rate_a - rate_b) / discordance) / 2
    discordant = np.arange(n + 1)
    # The largest count of the rarer kind that is significant among so many discordant states.
    critical = stats.binom.ppf((1 - level) / 2, discordant, 0.5) - 1
    critical += 2 * stats.binom.cdf(critical + 1, discordant, 0.5) < 1 - level
    found = stats.binom.cdf(critical, discordant, share) + stats.binom.sf(discordant - critical - 1, discordant, share)
    return float(stats.binom.pmf(discordant, n, discordance) @ np.where(critical >= 0, found, 0.0))


def barnard_power(n: int, rate_a: float, rate_b: float, level: float = LEVEL) -> float:
    """Probability that Barnard's exact test finds the difference with ``n`` episodes each, summed over all outcomes."""
    counts = np.arange(n + 1)
    statistic = np.abs(pooled_wald(counts[:, None], n, counts[None, :], n)).ravel()
    order = np.argsort(-statistic, kind="stable")
    p_values = np.zeros(order.size)
    for rate in _NUISANCE:
        own = stats.binom.pmf(counts, n, rate)
        np.maximum(p_values, np.cumsum(np.outer(own, own).ravel()[order]), out=p_values)
    # Tables with the same statistic are rejected together or not at all.
    ranked = statistic[order]
    last = np.searchsorted(-ranked, -ranked + 1e-9, side="right") - 1
    rejected = p_values[last] < 1 - level
    weights = np.outer(stats.binom.pmf(counts, n, rate_a), stats.binom.pmf(counts, n, rate_b)).ravel()[order]
    return float(weights[rejected].sum())


def episodes_for_difference(rate_a: float, rate_b: float, *, power: float = 0.8, level: float = LEVEL) -> int:
    """Episodes of each policy, on different initial states, to find the difference with probability ``power``.

    Raises:
        UsageError: equal rates, or a number outside its range.
    """
    difference = _check_difference(rate_a, rate_b, power)
    middle = (rate_a + rate_b) / 2
    spread = _z(0.5 + level / 2) * math.sqrt(2 * middle * (1 - middle))
    spread += _z(power) * math.sqrt(rate_a * (1 - rate_a) + rate_b * (1 - rate_b))
    guess = _counted((spread / difference) ** 2)
    if guess > LARGEST_ENUMERATION:
        return guess
    short, enough = max(1, int(0.7 * guess)), max(4, int(1.3 * guess) + 2)
    return _fewest(lambda n: barnard_power(n, rate_a, rate_b, level) >= power, short, enough)


def states_for_paired_difference(
    rate_a: float, rate_b: float, *, discordance: float | None = None, power: float = 0.8, level: float = LEVEL
) -> int:
    """Initial states that both policies run, to find the difference with probability ``power`` by McNemar's test.

    Args:
        rate_a: success rate of A.
        rate_b: success rate of B.
        discordance: share of states where exactly one succeeds; None takes independent outcomes, the cautious case.
        power: probability to find the difference.
        level: one less the significance level.

    Raises:
        UsageError: equal rates, a number outside its range, or a discordance that the rates do not allow.
    """
    difference = _check_difference(rate_a, rate_b, power)
    share = rate_a * (1 - rate_b) + rate_b * (1 - rate_a) if discordance is None else discordance
    if not difference <= share <= min(1.0, rate_a + rate_b, 2 - rate_a - rate_b) + 1e-12:
        raise UsageError(f"rates {rate_a:g} and {rate_b:g} do not allow a discordance of {share:g}")
    spread = _z(0.5 + level / 2) * math.sqrt(share) + _z(power) * math.sqrt(max(0.0, share - difference**2))
    guess = _counted((spread / difference) ** 2)
    if guess > _LARGEST_SUM:
        return guess

    def power_of(n: int) -> float:
        return mcnemar_power(n, rate_a, rate_b, share, level)

    start = max(1, int(0.8 * guess))
    if guess > LARGEST_ENUMERATION:
        # One by one it would take minutes; the teeth of the saw are small by now.
        start = max(start, _fewest(lambda n: power_of(n) >= power, start, int(1.1 * guess)) - 2 * _LOOK_AHEAD)
    return _smallest(power_of, power, start)


def states_for_mean_difference(
    difference: float, deviation: float, *, power: float = 0.8, level: float = LEVEL, comparisons: int = 1
) -> int:
    """Initial states to find a difference of two mean scores, paired or each (by what ``deviation`` is).

    Args:
        difference: the difference to be found.
        deviation: standard deviation of the difference on one initial state.
        power: probability to find it.
        level: confidence level.
        comparisons: how many are corrected together, for instance N - 1 of the best of N with the others.

    Raises:
        UsageError: a number outside its range.
    """
    if not (difference > 0 and deviation > 0):
        raise UsageError("a difference to be found, and its deviation, must be positive")
    _check_power(power)
    tail = (1 - level) / comparisons
    root = (_z(1 - tail / 2) + _z(power)) * deviation / difference
    return _counted(root * root)


def states_for_margin(margin: float, deviation: float, *, power: float = 0.8, level: float = LEVEL) -> int:
    """Initial states to show that an equally good policy is no worse by ``margin``; see `states_for_mean_difference`.

    Raises:
        UsageError: a number outside its range.
    """
    return states_for_mean_difference(margin, deviation, power=power, level=level)


def chain_deviation(length: float, subtasks: int = 5) -> float:
    """Standard deviation of the length of chains with this average, where every subtask is equally hard.

    Raises:
        UsageError: no chain has that average.
    """
    if not 0 < length < subtasks:
        raise UsageError(f"an average length must lie between 0 and {subtasks}, got {length:g}")
    rate = optimize.brentq(lambda q: sum(q**k for k in range(1, subtasks + 1)) - length, 0.0, 1.0)
    second = sum((2 * k - 1) * rate**k for k in range(1, subtasks + 1))
    return math.sqrt(second - length**2)


def paired_deviation(
    deviation_a: float, deviation_b: float, correlation: float, *, seeds: int = 1, own_share: float = 0.0
) -> float:
    """Standard deviation of the difference on one initial state, averaged over policy seeds.

    Args:
        deviation_a: of A's score.
        deviation_b: of B's score.
        correlation: between the two on the same state; 0 for different states.
        seeds: policy seeds that each state is run under.
        own_share: share of each variance that is the policy's own chance, which more seeds average out.

    Raises:
        UsageError: a number outside its range.
    """
    if not (-1 < correlation < 1 and 0 <= own_share <= 1 and seeds >= 1):
        raise UsageError("a correlation must lie between -1 and 1, a share between 0 and 100%, seeds be 1 or more")
    kept = (1 - own_share) + own_share / seeds
    a, b = deviation_a * math.sqrt(kept), deviation_b * math.sqrt(kept)
    return math.sqrt(a**2 + b**2 - 2 * correlation * a * b)


def optimism(candidates: int, deviation: float, states: int) -> float:
    """By how much the best of equally good candidates looks better than it is, on average (independent scores)."""
    grid, width = np.linspace(-8, 8, 4001, retstep=True)
    density = candidates * stats.norm.pdf(grid) * stats.norm.cdf(grid) ** (candidates - 1)
    return float((grid * density).sum() * width) * deviation / math.sqrt(states)


def _fewest(suffices: Callable[[int], bool], short: int = 0, enough: int = 1) -> int:
    """The fewest trials that suffice, where more of them always do.

    Args:
        suffices: whether so many trials do.
        short: so many that do not.
        enough: where to begin; doubled until it suffices.
    """
    while not suffices(enough):
        _counted(2.0 * enough)
        short, enough = enough, 2 * enough
    return bisect_left(range(enough), True, lo=short + 1, key=suffices)


def _counted(needed: float) -> int:
    if not needed <= _MOST_EPISODES:
        raise UsageError(f"more than {_MOST_EPISODES:.0e} episodes would be needed: no evaluation has so many")
    return math.ceil(needed)


def _smallest(power_of: Callable[[int], float], power: float, start: int) -> int:
    """The smallest number that has the power, and keeps it for the next few: exact power rises in a saw-tooth."""
    enough = 0
    for n in count(start):
        enough = enough + 1 if power_of(n) >= power else 0
        if enough == _LOOK_AHEAD:
            return n - _LOOK_AHEAD + 1
    raise AssertionError


def _check_difference(rate_a: float, rate_b: float, power: float) -> float:
    _check_rate(rate_a)
    _check_rate(rate_b)
    if rate_a == rate_b:
        raise UsageError("equal success rates can never be told apart")
    _check_power(power)
    return abs(rate_a - rate_b)


def _check_power(power: float) -> None:
    if not 0 < power < 1:
        raise UsageError(f"power must lie between 0 and 1, got {power:g}")


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise UsageError(f"a success rate must lie between 0 and 1, got {rate:g}")


def _z(probability: float) -> float:
    return float(special.ndtri(probability))
