"""Coverage of a report's confidence intervals, and false alarms of its comparisons.

    python tests/benchmarks/interval_coverage.py [--replicates 4000]

The calls are simulated (in the last rows: agents with ten calls each). The true value
of each measure is known: it is the value over a very large number of such calls. It
should be inside 95 of 100 intervals of 95 %. Where all calls have the same value there
is no interval. A comparison draws both sides from the same distribution, so every
difference it calls clear is due to chance. In 95 reports of 100 there should be none.
"""

import argparse
from collections.abc import Callable

import numpy as np

from ser_batch.reporting.figures.estimates import (
    Scale,
    Units,
    beyond_chance,
    difference_limits,
    estimate,
    p_values,
)

SIZES = (5, 6, 8, 20, 100)
MANY = 2_000_000


def _lengths(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw the seconds of scored speech of each call."""
    return rng.lognormal(4.0, 0.8, n)


def _share(mean: float, spread: float) -> Callable:
    """Return a sampler of a share of the time, beta-distributed over calls."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        by = _lengths(rng, n)
        return rng.beta(mean * spread, (1 - mean) * spread, n) * by, by

    return draw


def _long_and_angry(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    by = _lengths(rng, n)
    return rng.beta(0.05 * 8 * np.sqrt(by / 55), 8, n) * by, by


def _valence(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    by = _lengths(rng, n)
    return np.clip(rng.normal(-0.05, 0.15, n), -1, 1) * by, by


def _latency(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.gumbel(0.6, 0.5, n), np.ones(n)


def _rate(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    by = rng.lognormal(1.2, 0.6, n)
    return rng.poisson(rng.gamma(2, 0.4, n) * by).astype(float), by


def _yes(p: float) -> Callable:
    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        return (rng.random(n) < p).astype(float), np.ones(n)

    return draw


MEASURES: dict[str, tuple[Scale, Callable]] = {
    "distress, 20 % of the time": (Scale.logit, _share(0.2, 6)),
    "anger, 3 % of the time": (Scale.logit, _share(0.03, 6)),
    "skewed: 8 %, most calls none": (Scale.logit, _share(0.08, 0.8)),
    "long calls are much angrier": (Scale.logit, _long_and_angry),
    "valence": (Scale.identity, _valence),
    "latency": (Scale.identity, _latency),
    "interruptions per minute": (Scale.log, _rate),
    "calls with an episode, 20 %": (Scale.proportion, _yes(0.2)),
    "calls that failed, 2 %": (Scale.proportion, _yes(0.02)),
}


def _by_agent(mean: float, agents_differ: float, calls: int = 10) -> Callable:
    """Return a sampler of a share of the time whose mean differs between agents.

    It draws the sums over all calls of each agent.
    """

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        level = rng.beta(mean * agents_differ, (1 - mean) * agents_differ, n)
        by = rng.lognormal(4.0, 0.8, (n, calls))
        share = rng.beta(
            level[:, None] * 6 + 1e-9, (1 - level[:, None]) * 6 + 1e-9, (n, calls)
        )
        return (share * by).sum(1), by.sum(1)

    return draw


def _yes_by_agent(p: float, agents_differ: float, calls: int = 10) -> Callable:
    """Return a sampler of a yes/no measure whose rate differs between agents.

    It draws the sums over all calls of each agent.
    """

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        level = rng.beta(p * agents_differ, (1 - p) * agents_differ, n)
        return rng.binomial(calls, level).astype(float), np.full(n, float(calls))

    return draw


CLUSTERED: dict[str, tuple[Scale, Callable]] = {
    "by agent: distress, 20 %": (Scale.logit, _by_agent(0.2, 8)),
    "by agent: an episode in 20 %": (Scale.proportion, _yes_by_agent(0.2, 8)),
    "by agent: 2 % that failed": (Scale.proportion, _yes_by_agent(0.02, 8)),
}


def _units(draws: list[tuple[np.ndarray, np.ndarray]]) -> Units:
    """Return the replicates side by side, each as a separate measure."""
    over = np.stack([o for o, _ in draws], 1)
    by = np.stack([b for _, b in draws], 1)
    return Units(over, by, np.ones_like(by))


def _coverage(name: str, n: int, replicates: int) -> tuple[float, float]:
    """Return the share of intervals that contain the truth, and their median width."""
    scale, draw = (MEASURES | CLUSTERED)[name]
    rng = np.random.default_rng([n, len(name)])
    over, by = draw(np.random.default_rng(1), MANY)
    truth = over.sum() / by.sum()
    units = _units([draw(rng, n) for _ in range(replicates)])
    if name in CLUSTERED:
        units = Units(units.over, units.by, np.full_like(units.by, 10))
    found = estimate(units, [scale] * replicates, are_recordings=name not in CLUSTERED)
    low, high = found.limits()
    known = np.isfinite(low)
    holds = (low <= truth) & (truth <= high)
    return float(holds[known].mean()), float(
        np.median((high - low)[known]) / abs(truth)
    )


def _false_alarms(n: int, replicates: int) -> tuple[float, float]:
    """Return how often chance looks like a difference in a comparison.

    Returns:
        The share of rows that look clear by their interval, and the shares of
        comparisons with at least one such row and with one by Holm's procedure.
    """
    rng = np.random.default_rng(n)
    names = list(MEASURES)
    scales = [MEASURES[name][0] for name in names]
    single = any_clear = by_holm = 0
    for _ in range(replicates):
        now, then = (
            estimate(_units([MEASURES[name][1](rng, n) for name in names]), scales)
            for _ in range(2)
        )

        def limits(level: np.ndarray, now=now, then=then):  # type: ignore[no-untyped-def]
            return difference_limits(now, then, level)

        p = p_values(limits, len(names))
        single += int((p < 0.05).sum())
        any_clear += bool((p < 0.05).any())
        by_holm += bool(beyond_chance(dict(zip(names, p, strict=True))))
    return (
        single / replicates / len(names),
        any_clear / replicates,
        by_holm / replicates,
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=4000)
    replicates = parser.parse_args().replicates
    heads = "".join(f"{f'{n} units':>18}" for n in SIZES)
    print(f"{'95 % intervals with the truth':<32}{heads}   (width / truth)")
    for name in (*MEASURES, *CLUSTERED):
        cells = [_coverage(name, n, replicates) for n in SIZES]
        print(f"{name:<32}" + "".join(f"{f'{c:.1%} ({w:.2f})':>18}" for c, w in cells))
    print(f"\n{'comparisons without a difference':<32}{heads}")
    alarms = [_false_alarms(n, replicates // 20) for n in SIZES]
    for i, name in enumerate(
        ("rows that look clear", "with such a row", "with one by Holm")
    ):
        print(f"{name:<32}" + "".join(f"{a[i]:>18.1%}" for a in alarms))


if __name__ == "__main__":
    main()
