"""Ratios of two sums over recordings, with 95 % intervals.

The interval of a ratio R = sum(over) / sum(by) is symmetric on a scale that suits the
measure: the logit of a share, the logarithm of a rate or a length, the value itself of
a score. The standard error on that scale is the larger of two jackknife estimates, that
of R (times the slope of the scale) and that of the scaled R (Miller 1974, The
jackknife: a review, Biometrika 61). The half-width is this error times the quantile of
Student's t with

    df = min(sum(by)^2 / sum(by^2), 1.8 sum(e^2)^2 / sum(e^4)) - 1,    e = over - R by,

since a few long or extreme recordings carry less information than their number
suggests. A proportion of recordings has Wilson's interval (1927). The interval of a
difference is computed from the limits of both sides (MOVER: Zou & Donner 2008,
Construction of confidence limits about effect measures, Statistics in Medicine 27).
`tests/benchmarks/interval_coverage.py` measures how often the intervals contain the
true value.

The jackknife leaves out one *unit* at a time: a recording, or all recordings of one
agent. `estimates.js` has the same formulas, for the selections made in the HTML report;
a test compares the two.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from scipy.special import expit, logit, stdtrit

MIN_UNITS = 5
"""With fewer units there is no interval: so few say nothing about the others."""
LEVEL = 0.95
TAILS = 1.8
"""Factor of the degrees of freedom derived from the fourth moment of e."""
NORMAL_DF = 1e9
Key = TypeVar("Key", bound=Hashable)


class Scale(StrEnum):
    """The scale on which an interval is symmetric.

    A `proportion` is of a yes-or-no property; a `total` has no interval.
    """

    logit = "logit"
    log = "log"
    identity = "identity"
    proportion = "proportion"
    total = "total"


@dataclass(frozen=True, slots=True)
class Units:
    """The contribution of each unit to both sums of each measure.

    `recordings` is the number of recordings of the unit that have the measure.

    Shape:
        all: (unit, measure)
    """

    over: np.ndarray
    by: np.ndarray
    recordings: np.ndarray


@dataclass(frozen=True, slots=True)
class Estimates:
    """The value of each measure, its standard error on its scale, and its df.

    NaN where there is none. `effective` is the effective number of recordings behind a
    proportion, which is smaller than their actual number if recordings of one unit
    resemble each other.
    """

    scales: tuple[Scale, ...]
    value: np.ndarray
    error: np.ndarray
    df: np.ndarray
    effective: np.ndarray
    recordings: np.ndarray

    def of(self, measures: Sequence[int]) -> "Estimates":
        """Return the estimates of some measures, by index."""
        some = list(measures)
        scales = tuple(self.scales[i] for i in some)
        arrays = (self.value, self.error, self.df, self.effective, self.recordings)
        return Estimates(scales, *(array[some] for array in arrays))

    @np.errstate(divide="ignore", invalid="ignore", over="ignore")
    def limits(
        self, level: float | np.ndarray = LEVEL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and the upper end of each interval."""
        t = stdtrit(self.df, (1 + np.asarray(level, float)) / 2)
        low, high = np.full_like(self.value, np.nan), np.full_like(self.value, np.nan)
        for scale in Scale:
            these = np.array([own is scale for own in self.scales], bool)
            if scale is Scale.proportion:
                ends = _wilson(self.value, self.effective, t)
            elif scale is Scale.total:
                continue
            else:
                half = t * self.error
                middle = _to_scale(scale, self.value)
                ends = (
                    _from_scale(scale, middle - half),
                    _from_scale(scale, middle + half),
                )
            low[these], high[these] = ends[0][these], ends[1][these]
        return low, high


@np.errstate(divide="ignore", invalid="ignore")
def estimate(
    units: Units, scales: Sequence[Scale], are_recordings: bool = True
) -> Estimates:
    """Return the estimate of each measure.

    Args:
        units: the sums of each unit.
        scales: the scale of each measure.
        are_recordings: whether each unit is a recording, not a cluster of recordings
            that resemble each other.
    """
    over, by, recordings = units.over, units.by, units.recordings.sum(0)
    total_over, total_by = over.sum(0), by.sum(0)
    value = np.where(total_by > 0, total_over / total_by, np.nan)
    has = units.recordings > 0
    n = has.sum(0)
    without = (total_over - over) / (total_by - by)
    plain = _jackknife(without, has, n)
    e = over - value * by
    squares = (e**2).sum(0)
    df = np.minimum(total_by**2 / (by**2).sum(0), TAILS * squares**2 / (e**4).sum(0))
    df = np.maximum(df - 1, 1.0)
    error = np.full_like(value, np.nan)
    for scale in (Scale.logit, Scale.log, Scale.identity):
        these = np.array([own is scale for own in scales], bool)
        slope = _slope(scale, value)
        on_scale = _jackknife(_to_scale(scale, without), has, n)
        # Leaving out a unit that accounts for a whole sum may be infinite on the scale.
        largest = np.fmax(
            plain * slope, np.where(np.isfinite(on_scale), on_scale, np.nan)
        )
        error[these] = largest[these]
    error[~(error > 0) | (n < MIN_UNITS)] = np.nan
    effective = recordings.astype(float)
    proportion = np.array([own is Scale.proportion for own in scales], bool)
    if not are_recordings:
        # As many independent recordings as would have the jackknife's standard error.
        alike = value * (1 - value) / plain**2
        # If all recordings agree, the similarity within a unit cannot be estimated.
        both = (value > 0) & (value < 1)
        effective = np.where(both, np.minimum(recordings, alike), n)
    effective[n < MIN_UNITS] = np.nan
    df = np.where(proportion, NORMAL_DF if are_recordings else np.maximum(n - 1, 1), df)
    totals = np.array([own is Scale.total for own in scales], bool)
    value = np.where(totals, total_over, value)
    return Estimates(tuple(scales), value, error, df, effective, recordings)


def _jackknife(without: np.ndarray, has: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the standard error, given the figures that leave out one unit each."""
    mean = np.where(has, without, 0).sum(0) / n
    return np.sqrt((n - 1) / n * np.where(has, (without - mean) ** 2, 0).sum(0))


def _to_scale(scale: Scale, value: np.ndarray) -> np.ndarray:
    if scale is Scale.logit:
        return logit(value)
    return np.log(value) if scale is Scale.log else value


def _from_scale(scale: Scale, value: np.ndarray) -> np.ndarray:
    if scale is Scale.logit:
        return expit(value)
    return np.exp(value) if scale is Scale.log else value


def _slope(scale: Scale, value: np.ndarray) -> np.ndarray:
    if scale is Scale.logit:
        return 1 / (value * (1 - value))
    return 1 / value if scale is Scale.log else np.ones_like(value)


def _wilson(
    p: np.ndarray, n: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.where(p > 0, middle - half, 0 * half), np.where(
        p < 1, middle + half, 1 + 0 * half
    )


def log_quantiles(steps: int = 100) -> list[float]:
    """Return the logarithm of Student's t at `LEVEL` for 1/df = 0, 1/steps, ... 1.

    It is nearly linear in between, so that it can be interpolated.
    """
    df = 1 / np.maximum(np.linspace(0, 1, steps + 1), 1 / NORMAL_DF)
    return [round(float(t), 7) for t in np.log(stdtrit(df, (1 + LEVEL) / 2))]


def difference_limits(
    now: Estimates, then: Estimates, level: float | np.ndarray = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of each difference, now minus then."""
    (low, high), (low_then, high_then) = now.limits(level), then.limits(level)
    d = now.value - then.value
    down = np.hypot(now.value - low, high_then - then.value)
    up = np.hypot(high - now.value, then.value - low_then)
    return d - down, d + up


def p_values(
    limits: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], size: int
) -> np.ndarray:
    """Return the p-value of each of `size` differences.

    It is 1 minus the level at which the interval begins to contain 0.
    """
    low, high = np.full(size, -12.0), np.zeros(size)  # bounds of log10(p)
    known = ~np.isnan(limits(np.full(size, LEVEL))[0])
    # Bisection: the interval at level 1 - p contains 0 for any p below the p-value.
    for _ in range(40):
        middle = (low + high) / 2
        ends = limits(1 - 10**middle)
        holds = (ends[0] <= 0) & (ends[1] >= 0)
        low, high = np.where(holds, middle, low), np.where(holds, high, middle)
    return np.where(known, 10**high, np.nan)


def beyond_chance(p: Mapping[Key, float], alpha: float = 1 - LEVEL) -> set[Key]:
    """Return the findings of a family that are beyond chance, by Holm's procedure.

    The probability that any of them is due to chance is below `alpha` (Holm 1979, A
    simple sequentially rejective multiple test procedure, Scandinavian J. of
    Statistics 6).

    >>> sorted(beyond_chance({"a": 0.001, "b": 0.02, "c": 0.04}))
    ['a', 'b', 'c']
    >>> sorted(beyond_chance({"a": 0.001, "b": 0.03, "c": 0.04}))
    ['a']
    """
    known = sorted((key for key in p if np.isfinite(p[key])), key=lambda key: p[key])
    found: set[Key] = set()
    for i, key in enumerate(known):
        if p[key] > alpha / (len(known) - i):
            break
        found.add(key)
    return found
