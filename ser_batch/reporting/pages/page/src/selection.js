// Which calls are shown, and figures over them.

import { estimate } from "./estimates.js";
import { daysBefore, daysOf, isWithin, UNDATED } from "./periods.js";

export const shareOf = (data, call, name) => {
  const i = data.measureIndex.get(name);
  if (i === undefined) return null;
  const [over, by] = [call.sums[2 * i], call.sums[2 * i + 1]];
  return over === null || !by ? null : over / by;
};

export const groupOf = (data, call, column) => {
  const value = call.meta[data.columns.indexOf(column)];
  return value === null || value === undefined ? "(unknown)" : String(value);
};

// Time is divided into days, or into hours if there is only one day.
export const slotOf = (data, call) => call.at.slice(0, data.daily ? 10 : 13);

const inRange = (share, [low, high]) =>
  (low === null && high === null) ||
  (share !== null &&
    share * 100 >= (low ?? Number.NEGATIVE_INFINITY) &&
    share * 100 <= (high ?? Number.POSITIVE_INFINITY));

// Tells whether a call fits everything but the period; `but` is a column or "day" whose
// filter is left out, so that a chart shows what else one could choose in it.
const fits = (data, state, but) => {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const columns = Object.entries(state.columns).filter(([column]) => column !== but);
  return (call) =>
    (!state.day || but === "day" || slotOf(data, call) === state.day) &&
    columns.every(([column, value]) => groupOf(data, call, column) === value) &&
    inRange(shareOf(data, call, "angry_share"), state.anger) &&
    inRange(shareOf(data, call, "distress_share"), state.distress) &&
    (!state.grew || call.grew) &&
    words.every((word) => call.text.includes(word));
};

const inPeriod = (period, days) => (call) =>
  period === UNDATED ? !call.at : !days || isWithin(call.at, days);

export const selected = (data, state, but = null) => {
  const rest = fits(data, state, but);
  const isDue = inPeriod(state.period, daysOf(state.period, data.today));
  return data.calls.filter((call) => isDue(call) && rest(call));
};

// The calls that the same filters find in the period before; null if there is none.
export const selectedBefore = (data, state, but = null) => {
  const days = daysOf(state.period, data.today);
  if (!days || (state.day && but !== "day")) return null;
  const rest = fits(data, state, but);
  const before = daysBefore(days);
  const found = data.calls.filter((call) => isWithin(call.at, before) && rest(call));
  return found.length ? found : null;
};

export const grouped = (calls, key) => {
  const groups = new Map();
  for (const call of calls) {
    const k = key(call);
    const group = groups.get(k);
    if (group) group.push(call);
    else groups.set(k, [call]);
  }
  return groups;
};

// A ratio of sums over calls. The units of its interval are the values of the cluster
// column, or, within a single value, calls.
const ratio = (data, state, calls, { of, scale, by = null }) => {
  const { cluster } = data.intervals;
  const clustered =
    data.columns.includes(cluster) && by !== cluster && !(cluster in state.columns);
  const units = new Map();
  calls.forEach((call, i) => {
    const [over, total] = of(call);
    if (over === null || total === null) return;
    const key = clustered ? call.unit : i;
    const unit = units.get(key);
    if (unit) {
      unit[0] += over;
      unit[1] += total;
      unit[2] += total > 0;
    } else units.set(key, [over, total, Number(total > 0)]);
  });
  return estimate([...units.values()], scale, { ...data.intervals, clustered });
};

export const figure = (data, state, calls, name, by = null) => {
  const i = data.measureIndex.get(name);
  if (i === undefined) return { value: null };
  const of = (call) => [call.sums[2 * i], call.sums[2 * i + 1]];
  return ratio(data, state, calls, { of, scale: data.measures[i].scale, by });
};

export const quarterFigure = (data, state, calls, quarter) =>
  ratio(data, state, calls, {
    of: (call) => [call.quarters[2 * quarter], call.quarters[2 * quarter + 1]],
    scale: "logit",
  });
