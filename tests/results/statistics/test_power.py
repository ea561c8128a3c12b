"""Sample sizes against textbook figures, statsmodels and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from simrun.errors import UsageError
from simrun.results.statistics.exact_tests import PairedCounts, barnard, mcnemar
from simrun.results.statistics.intervals import wilson
from simrun.results.statistics.power import (
    barnard_power,
    chain_deviation,
    episodes_for_difference,
    episodes_for_half_width,
    mcnemar_power,
    optimism,
    paired_deviation,
    states_for_mean_difference,
    states_for_paired_difference,
)


@pytest.mark.parametrize(("points", "textbook"), [(5, 385), (3, 1068), (10, 97), (2, 2401)])
def test_half_widths_are_a_little_below_the_textbook(points: float, textbook: int) -> None:
    """0.25 (1.96 / w)^2 is the normal interval's figure; Wilson's needs z^2 episodes fewer."""
    assert episodes_for_half_width(points / 100) == pytest.approx(textbook - 1.96**2, abs=1)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_answer_is_the_smallest(rate: float) -> None:
    n = episodes_for_half_width(0.05, rate=rate)
    assert wilson(rate * n, n).half_width <= 0.05 < wilson(rate * (n - 1), n - 1).half_width


def test_unpaired_sizes_are_near_statsmodels() -> None:
    """Theirs is the normal approximation; the exact test needs a few episodes more or less."""
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for rates in ((0.5, 0.8), (0.5, 0.7)):
        theirs = proportion.samplesize_proportions_2indep_onetail(
            rates[1] - rates[0], rates[0], power=0.8, ratio=1, alpha=0.05, alternative="two-sided"
        )
        assert episodes_for_difference(*rates) == pytest.approx(float(theirs), rel=0.08)


def test_unpaired_power_is_that_of_the_test_that_is_used() -> None:
    """All outcomes of 25 against 25, each tested by Barnard's test, weighted by their probability."""
    n, a, b = 25, 0.3, 0.7
    weights = np.outer(stats.binom.pmf(range(n + 1), n, a), stats.binom.pmf(range(n + 1), n, b))
    rejected = np.array([[barnard(x, n, y, n) < 0.05 for y in range(n + 1)] for x in range(n + 1)])
    assert barnard_power(n, a, b) == pytest.approx(float((weights * rejected).sum()), abs=2e-3)


def test_small_differences_are_counted_in_seconds_and_tiny_ones_refused() -> None:
    """One by one, half a minute of sums stood before each further state: a point of difference took minutes."""
    exact = states_for_paired_difference(0.5, 0.53)
    assert [mcnemar_power(n, 0.5, 0.53, 0.5) >= 0.8 for n in (exact - 1, exact, exact + 11)] == [False, True, True]
    assert states_for_paired_difference(0.5, 0.51) == pytest.approx(39_440, rel=0.01), "the exact sum's, by hand"
    for needed in (
        lambda: states_for_paired_difference(0.5, 0.5000001),
        lambda: episodes_for_half_width(1e-300),
        lambda: states_for_mean_difference(1e-300, 1.0),
        lambda: states_for_mean_difference(math.nan, 1.0),
        lambda: states_for_mean_difference(0.1, 1.0, comparisons=10**30),
    ):
        with pytest.raises(UsageError, match=r"would be needed|must be positive"):
            needed()


def test_paired_power_is_that_of_the_exact_test() -> None:
    """All outcomes of 30 states, each tested by McNemar's exact test."""
    n, only_a, only_b = 30, 0.35, 0.1
    total = 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            weight = stats.multinomial.pmf([a, b, n - a - b], n, [only_a, only_b, 1 - only_a - only_b])
            total += weight * (mcnemar(PairedCounts(n - a - b, a, b, 0)) < 0.05)
    assert mcnemar_power(n, 0.6, 0.35, 0.45) == pytest.approx(total, abs=1e-9)
    size = states_for_paired_difference(0.5, 0.6, discordance=0.2)
    assert mcnemar_power(size, 0.5, 0.6, 0.2) >= 0.8
    assert mcnemar_power(size - 1, 0.5, 0.6, 0.2) < 0.8


def test_lengths_seeds_margins_and_the_best_of_many() -> None:
    generator = np.random.default_rng(0)
    lengths = np.cumprod(generator.random((200_000, 5)) < 0.85, axis=1).sum(axis=1)
    assert chain_deviation(float(sum(0.85**k for k in range(1, 6)))) == pytest.approx(lengths.std(), rel=0.01)
    alone = paired_deviation(1.0, 1.0, 0.5)
    assert alone == pytest.approx(1.0)
    assert paired_deviation(1.0, 1.0, 0.5, seeds=10**6, own_share=0.36) == pytest.approx(0.8, abs=1e-4)
    power = pytest.importorskip("statsmodels.stats.power")
    theirs = power.NormalIndPower().solve_power(effect_size=0.2, power=0.8, alpha=0.05, ratio=0)
    assert states_for_mean_difference(0.2, 1.0) == pytest.approx(float(theirs), abs=1)
    assert states_for_mean_difference(0.2, 1.0, comparisons=9) > states_for_mean_difference(0.2, 1.0)
    best = generator.standard_normal((100_000, 10)).max(axis=1).mean()
    assert optimism(10, 5.0, 25) == pytest.approx(float(best), abs=0.01)


def test_out_of_range_is_refused() -> None:
    for call in (
        lambda: episodes_for_half_width(0),
        lambda: episodes_for_half_width(0.6),
        lambda: episodes_for_half_width(0.05, rate=1.2),
        lambda: episodes_for_difference(0.5, 0.5),
        lambda: episodes_for_difference(0.5, 0.6, power=1),
        lambda: states_for_paired_difference(0.5, 0.6, discordance=0.05),
        lambda: states_for_paired_difference(0.1, 0.2, discordance=0.5),
    ):
        with pytest.raises(UsageError):
            call()
