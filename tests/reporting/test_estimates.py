"""Intervals of ratios: a naive implementation as the oracle, and their coverage."""

import json
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ser_batch.reporting.figures.estimates import (
    MIN_UNITS,
    TAILS,
    Estimates,
    Scale,
    Units,
    beyond_chance,
    difference_limits,
    estimate,
    log_quantiles,
    p_values,
)
from tests.support.paths import NODE, ROOT

SUMS = st.lists(
    st.tuples(st.floats(0.01, 0.99), st.floats(0.5, 500)),
    min_size=MIN_UNITS,
    max_size=40,
)


def units_of(pairs: list[tuple[float, float]]) -> Units:
    """Return units of one recording each, with one measure."""
    over, by = np.array(pairs, float).T
    return Units(over[:, None], by[:, None], np.ones((len(pairs), 1)))


def one(found: Estimates, level: float = 0.95) -> tuple[float, float]:
    low, high = found.limits(level)
    return float(low[0]), float(high[0])


def naive_limits(
    over: np.ndarray, by: np.ndarray, to, back, slope
) -> tuple[float, float]:
    """Compute the interval unit by unit, as the docstring of estimates.py describes."""
    ratio, n = over.sum() / by.sum(), len(by)
    without = [np.delete(over, i).sum() / np.delete(by, i).sum() for i in range(n)]

    def jackknife(values: list[float]) -> float:
        mean = sum(values) / n
        return np.sqrt((n - 1) / n * sum((v - mean) ** 2 for v in values))

    error = max(jackknife(without) * slope(ratio), jackknife([to(v) for v in without]))
    e = over - ratio * by
    df = min(by.sum() ** 2 / (by**2).sum(), 1.8 * (e**2).sum() ** 2 / (e**4).sum()) - 1
    half = stats.t.ppf(0.975, max(df, 1)) * error
    return back(to(ratio) - half), back(to(ratio) + half)


@settings(max_examples=80, deadline=None)
@given(SUMS)
def test_limits_match_a_step_by_step_computation(drawn):
    shares, by = np.array(drawn).T
    if np.ptp(shares) < 1e-3:
        return
    cases = {
        Scale.logit: (
            lambda x: np.log(x / (1 - x)),
            lambda x: 1 / (1 + np.exp(-x)),
            lambda x: 1 / (x * (1 - x)),
        ),
        Scale.log: (np.log, np.exp, lambda x: 1 / x),
        Scale.identity: (lambda x: x, lambda x: x, lambda x: 1.0),
    }
    for scale, functions in cases.items():
        found = one(
            estimate(units_of(list(zip(shares * by, by, strict=True))), [scale])
        )
        assert found == pytest.approx(
            naive_limits(shares * by, by, *functions), rel=1e-6
        )


@pytest.mark.parametrize(("k", "n"), [(0, 5), (1, 5), (5, 5), (3, 40), (200, 400)])
def test_limits_of_a_proportion_invert_the_score_test(k, n):
    low, high = one(
        estimate(units_of([(1, 1)] * k + [(0, 1)] * (n - k)), [Scale.proportion])
    )
    z = stats.norm.ppf(0.975)
    for end, at in ((low, 0.0), (high, 1.0)):
        if end != pytest.approx(at):
            assert abs(k / n - end) == pytest.approx(
                z * np.sqrt(end * (1 - end) / n), rel=1e-6
            )
    assert (low == pytest.approx(0)) == (k == 0)
    assert (high == pytest.approx(1)) == (k == n)


def test_few_units_and_identical_units_have_no_interval():
    few = estimate(units_of([(1, 2), (1, 3), (2, 3), (1, 4)]), [Scale.logit])
    alike = estimate(units_of([(0, 10)] * 30), [Scale.logit])
    assert np.isnan(few.limits()).all()
    assert np.isnan(alike.limits()).all()
    assert alike.value[0] == 0


def test_a_single_nonzero_unit_keeps_an_interval_above_zero():
    low, high = one(estimate(units_of([(3, 5), *[(0, 5)] * 9]), [Scale.log]))
    assert 0 < low < 3 / 50 < high < np.inf


def test_identical_calls_of_one_agent_are_one_unit():
    """Check that eight agents with twenty identical calls each equal eight calls."""
    rng = np.random.default_rng(0)
    agents = rng.beta(2, 6, 8)
    singly = estimate(
        units_of([(p * 10, 10) for p in np.repeat(agents, 20)]), [Scale.logit]
    )
    clustered = Units(
        agents[:, None] * 200, np.full((8, 1), 200.0), np.full((8, 1), 20.0)
    )
    low, high = one(estimate(clustered, [Scale.logit], are_recordings=False))
    assert (low, high) == pytest.approx(
        one(estimate(units_of([(p * 10, 10) for p in agents]), [Scale.logit]))
    )
    assert high - low > 3 * np.ptp(one(singly))


def test_failures_clustered_by_agent_have_wider_intervals():
    def limits(failed: list[int]) -> tuple[float, float]:
        units = Units(
            np.array(failed, float)[:, None],
            np.full((10, 1), 20.0),
            np.full((10, 1), 20.0),
        )
        return one(estimate(units, [Scale.proportion], are_recordings=False))

    by_agent, spread = limits([20, 20] + [0] * 8), limits([4] * 10)
    assert np.ptp(by_agent) > 2 * np.ptp(spread)
    none = limits([0] * 10)
    assert (none[0], none[1] > 0.2) == (0, True)  # ten agents, not two hundred calls


@settings(max_examples=60, deadline=None)
@given(SUMS, SUMS)
def test_a_difference_is_clear_exactly_if_its_interval_excludes_zero(now, then):
    def estimates(drawn):
        return estimate(
            units_of([(share * by, by) for share, by in drawn]), [Scale.logit]
        )

    a, b = estimates(now), estimates(then)
    low, high = difference_limits(a, b)
    if np.isnan(low[0]):
        return
    assert low[0] <= a.value[0] - b.value[0] <= high[0]
    p = p_values(lambda level: difference_limits(a, b, level), 1)[0]
    assert (p < 0.05) == (low[0] > 0 or high[0] < 0)
    turned = difference_limits(b, a)
    assert (turned[0][0], turned[1][0]) == pytest.approx((-high[0], -low[0]))


def test_limits_that_overflow_are_not_a_finding():
    """Check that limits that overflow contain every value."""
    rare = estimate(units_of([(1, 1), *[(0, 1)] * 4]), [Scale.log])
    other = estimate(units_of([(2, 1), (1, 1), *[(0, 1)] * 3]), [Scale.log])
    assert p_values(lambda level: difference_limits(rare, other, level), 1)[0] > 0.05


@given(st.dictionaries(st.integers(0, 30), st.floats(1e-6, 1), max_size=12))
def test_holm_finds_between_bonferroni_and_single_tests(p):
    found = beyond_chance(p)
    assert (
        {key for key in p if p[key] <= 0.05 / max(len(p), 1)}
        <= found
        <= {key for key in p if p[key] <= 0.05}
    )


@pytest.mark.parametrize(("n", "least"), [(5, 0.91), (20, 0.93), (100, 0.93)])
def test_intervals_have_their_nominal_coverage(n, least):
    rng = np.random.default_rng(n)
    by = rng.lognormal(4, 0.8, (n, 2000))
    over = rng.beta(0.2 * 6, 0.8 * 6, (n, 2000)) * by
    low, high = estimate(
        Units(over, by, np.ones_like(by)), [Scale.logit] * 2000
    ).limits()
    assert least < ((low <= 0.2) & (high >= 0.2)).mean() < 0.985


@pytest.mark.parametrize("clustered", [False, True])
def test_the_html_report_computes_the_same_limits(clustered):
    rng = np.random.default_rng(7)
    cases = []
    for n in (3, 5, 7, 30, 300):
        by = rng.lognormal(3, 1, n)
        calls = rng.integers(1, 9, n) if clustered else np.ones(n, int)
        for scale, over, of in (
            ("logit", by * rng.beta(1, 4, n), by),
            ("log", rng.poisson(by / 4).astype(float), by),
            ("identity", by * rng.normal(0, 1, n), by),
            ("proportion", rng.binomial(calls, 0.3).astype(float), calls.astype(float)),
            ("logit", np.zeros(n), by),
            ("log", np.r_[2.0, np.zeros(n - 1)], by),
        ):
            cases.append((scale, np.stack([over, of, calls], 1).tolist()))
    settings_ = {
        "logT": log_quantiles(),
        "minUnits": MIN_UNITS,
        "tails": TAILS,
        "clustered": clustered,
    }
    estimates = ROOT / "ser_batch/reporting/pages/page/src/estimates.js"
    script = (
        f"import {{ difference, estimate }} from {json.dumps(estimates.as_uri())};\n"
        f"const settings = {json.dumps(settings_)};\n"
        f"const found = {json.dumps(cases)}"
        ".map(([scale, units]) => estimate(units, scale, settings));\n"
        "const changes = found.map((now, i) => difference(now, found.at(i - 1)));\n"
        "console.log(JSON.stringify([found, changes]));"
    )
    done = subprocess.run(
        [str(NODE), "--input-type=module", "-"],
        input=script, capture_output=True, text=True, check=True,
    )  # fmt: skip
    pages, changes = json.loads(done.stdout)
    every = []
    for (scale, rows), page in zip(cases, pages, strict=True):
        over, by, calls = np.array(rows).T
        here = estimate(
            Units(over[:, None], by[:, None], calls[:, None]),
            [Scale(scale)],
            not clustered,
        )
        assert page["value"] == pytest.approx(here.value[0])
        low, high = one(here)
        assert ("low" in page) == np.isfinite(low)
        if "low" in page:
            assert (page["low"], page["high"]) == pytest.approx(
                (low, high), rel=1e-3, abs=1e-9
            )
        every.append(here)
    for i, change in enumerate(changes):
        low, high = difference_limits(every[i], every[i - 1])
        assert ("low" in change) == np.isfinite(low[0])
        if "low" in change:
            assert (change["low"], change["high"]) == pytest.approx(
                (low[0], high[0]), rel=1e-3, abs=1e-3
            )
