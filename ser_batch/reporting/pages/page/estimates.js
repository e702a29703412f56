"use strict";
// A ratio of two sums and its 95 % interval. estimates.py has the same formulas, and
// explains them.
const serEstimate = (() => {
  // The logarithm of t is tabulated over 1 / df, in which it is nearly linear.
  const studentT = (df, logT) => {
    const at = (logT.length - 1) / df,
      i = Math.min(Math.floor(at), logT.length - 2);
    return Math.exp(logT[i] + (at - i) * (logT[i + 1] - logT[i]));
  };
  const scales = {
    logit: {
      to: (x) => Math.log(x / (1 - x)),
      from: (x) => 1 / (1 + Math.exp(-x)),
      slope: (x) => 1 / (x * (1 - x)),
    },
    log: { to: Math.log, from: Math.exp, slope: (x) => 1 / x },
    identity: { to: (x) => x, from: (x) => x, slope: () => 1 },
  };
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const jackknife = (without) => {
    const n = without.length,
      mean = sum(without) / n;
    return Math.sqrt(((n - 1) / n) * sum(without.map((x) => (x - mean) ** 2)));
  };
  const wilson = (p, n, z) => {
    const middle = (p + z ** 2 / (2 * n)) / (1 + z ** 2 / n),
      half =
        (z / (1 + z ** 2 / n)) * Math.sqrt((p * (1 - p)) / n + z ** 2 / (4 * n ** 2));
    return [p > 0 ? middle - half : 0, p < 1 ? middle + half : 1];
  };
  // Units are [over, by, calls]: each is a call, or all calls of an agent.
  return (units, scale, { logT, minUnits, tails, clustered }) => {
    const over = sum(units.map((u) => u[0])),
      by = sum(units.map((u) => u[1])),
      value = over / by;
    if (!by) return { value: null };
    units = units.filter((u) => u[2] > 0);
    const n = units.length;
    if (n < minUnits) return { value };
    const without = units.map((u) => (over - u[0]) / (by - u[1])),
      plain = jackknife(without);
    let low, high;
    if (scale === "proportion") {
      const calls = sum(units.map((u) => u[2]));
      const effective = !clustered
        ? calls
        : value > 0 && value < 1
          ? Math.min(calls, (value * (1 - value)) / plain ** 2)
          : n;
      [low, high] = wilson(value, effective, studentT(clustered ? n - 1 : 1e9, logT));
    } else {
      const { to, from, slope } = scales[scale],
        e = units.map((u) => u[0] - value * u[1]),
        squares = sum(e.map((x) => x ** 2));
      const df = Math.max(
        1,
        Math.min(
          by ** 2 / sum(units.map((u) => u[1] ** 2)),
          (tails * squares ** 2) / sum(e.map((x) => x ** 4)),
        ) - 1,
      );
      const onScale = jackknife(without.map(to)),
        delta = plain * slope(value);
      const half =
        studentT(df, logT) *
        (Number.isFinite(onScale) ? Math.max(delta, onScale) : delta);
      if (!(half > 0)) return { value };
      low = from(to(value) - half);
      high = from(to(value) + half);
    }
    return Number.isFinite(low) && Number.isFinite(high)
      ? { value, low, high }
      : { value };
  };
})();
