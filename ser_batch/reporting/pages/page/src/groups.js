// A measure by group, with the change of each against the period before.

import { drawChart } from "./charts.js";
import { measureOf } from "./data.js";
import { button, byId } from "./dom.js";
import { difference } from "./estimates.js";
import { rangeRows } from "./ranges.js";
import {
  figure,
  grouped,
  groupOf,
  selected,
  selectedBefore,
  shareOf,
} from "./selection.js";
import { between, changed, counted, sentenceCase, written } from "./text.js";

const FEW = 5;
const MOST = 8;

// Groups of few calls come last: their figures are the least certain.
const groupsOf = (data, state) => {
  const { by } = state;
  const key = (call) => groupOf(data, call, by);
  const before = grouped(selectedBefore(data, state, by) ?? [], key);
  return [...grouped(selected(data, state, by), key)]
    .map(([name, calls]) => {
      const now = figure(data, state, calls, state.measure, by);
      const then = before.has(name)
        ? figure(data, state, before.get(name), state.measure, by)
        : { value: null };
      const n = calls.filter((c) => shareOf(data, c, state.measure) !== null).length;
      const isFew = n < FEW;
      return {
        name,
        n,
        figure: now,
        change: difference(now, then),
        isFew,
      };
    })
    .filter((group) => group.figure.value !== null)
    .sort((a, b) => a.isFew - b.isFew || b.figure.value - a.figure.value);
};

const summaryOf = (groups, kind) => {
  const [first] = groups;
  if (!first) return "No calls to compare.";
  const few = groups.filter((group) => group.isFew).length;
  const of = few && !first.isFew ? `Of those with ${FEW} calls or more, ` : "";
  const value = written(first.figure.value, kind);
  const said = `${of}${first.name} has the highest, ${value}.`;
  return few ? `${said} Hollow: fewer.` : said;
};

export const drawGroups = (data, state, choose) => {
  const measure = measureOf(data, state.measure);
  const { kind } = measure;
  const groups = groupsOf(data, state);
  const hasChange = groups.some((group) => group.change.value !== null);
  const chosen = state.columns[state.by];
  const rows = groups.slice(0, MOST).map((group) => ({
    ...group,
    isChosen: chosen === group.name,
    note:
      (group.isFew ? `n=${group.n}` : "") ||
      (group.change.value === null ? "" : changed(group.change.value, kind)),
  }));
  const more = groups.length - rows.length;
  const rest = more > 0 ? ` ${counted(more, "more group")} in the table.` : "";
  drawChart(byId("groups"), {
    title: `${sentenceCase(measure.label)} by ${state.by}`,
    summary: summaryOf(groups, kind) + rest,
    drawing: rangeRows(rows, kind, choose),
    head: [state.by, "value", "95 %", "calls", ...(hasChange ? ["change"] : [])],
    rows: groups.map((group) => [
      button(group.name, () => choose(group.name), {
        "aria-pressed": String(chosen === group.name),
      }),
      written(group.figure.value, kind),
      between(group.figure, kind),
      group.n.toLocaleString("en"),
      ...(hasChange ? [changed(group.change.value, kind)] : []),
    ]),
  });
};
