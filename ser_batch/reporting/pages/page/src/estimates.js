// A ratio of two sums and its 95 % interval. estimates.py has the same formulas, and
// explains them.

// The logarithm of t is tabulated over 1 / df, in which it is nearly linear.
const studentT = (df, logT) => {
  const at = (logT.length - 1) / df;
  const i = Math.min(Math.floor(at), logT.length - 2);
  return Math.exp(logT[i] + (at - i) * (logT[i + 1] - logT[i]));
};

const SCALES = {
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
  const n = without.length;
  const mean = sum(without) / n;
  return Math.sqrt(((n - 1) / n) * sum(without.map((x) => (x - mean) ** 2)));
};

const wilson = (p, n, z) => {
  const scale = 1 + z ** 2 / n;
  const middle = (p + z ** 2 / (2 * n)) / scale;
  const half = (z / scale) * Math.sqrt((p * (1 - p)) / n + z ** 2 / (4 * n ** 2));
  return [p > 0 ? middle - half : 0, p < 1 ? middle + half : 1];
};

// Units are [over, by, calls]: each is a call, or all calls of an agent.
export const estimate = (units, scale, { logT, minUnits, tails, clustered }) => {
  const over = sum(units.map((u) => u[0]));
  const by = sum(units.map((u) => u[1]));
  if (!by) return { value: null };
  const value = over / by;
  const own = units.filter((u) => u[2] > 0);
  const n = own.length;
  if (n < minUnits) return { value };
  const without = own.map((u) => (over - u[0]) / (by - u[1]));
  const plain = jackknife(without);
  let low;
  let high;
  if (scale === "proportion") {
    const calls = sum(own.map((u) => u[2]));
    let effective = calls;
    if (clustered) {
      const spread = value > 0 && value < 1;
      effective = spread ? Math.min(calls, (value * (1 - value)) / plain ** 2) : n;
    }
    [low, high] = wilson(value, effective, studentT(clustered ? n - 1 : 1e9, logT));
  } else {
    const { to, from, slope } = SCALES[scale];
    const e = own.map((u) => u[0] - value * u[1]);
    const squares = sum(e.map((x) => x ** 2));
    const bySize = by ** 2 / sum(own.map((u) => u[1] ** 2));
    const byTails = (tails * squares ** 2) / sum(e.map((x) => x ** 4));
    const df = Math.max(1, Math.min(bySize, byTails) - 1);
    const onScale = jackknife(without.map(to));
    const delta = plain * slope(value);
    const spread = Number.isFinite(onScale) ? Math.max(delta, onScale) : delta;
    const half = studentT(df, logT) * spread;
    if (!(half > 0)) return { value };
    low = from(to(value) - half);
    high = from(to(value) + half);
  }
  return Number.isFinite(low) && Number.isFinite(high)
    ? { value, low, high }
    : { value };
};

// The difference of two ratios; its interval as in MOVER (Zou & Donner 2008).
export const difference = (now, then) => {
  if (now.value === null || then.value === null) return { value: null };
  const value = now.value - then.value;
  if (now.low === undefined || then.low === undefined) return { value };
  const below = Math.hypot(now.value - now.low, then.high - then.value);
  const above = Math.hypot(now.high - now.value, then.value - then.low);
  return { value, low: value - below, high: value + above };
};
