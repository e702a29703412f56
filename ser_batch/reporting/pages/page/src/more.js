// Further charts, drawn only while they are shown.

import { drawChart } from "./charts.js";
import { measureOf } from "./data.js";
import { byId } from "./dom.js";
import { rangeRows } from "./ranges.js";
import { figure, grouped, quarterFigure, shareOf } from "./selection.js";
import { between, counted, sentenceCase, written } from "./text.js";

const QUARTERS = ["first", "second", "third", "last"];
const BINS = 10;

const draw = (id, title, rows, kind, head, summary) => {
  const known = rows.filter((row) => row.figure.value !== null);
  drawChart(byId(id), {
    title,
    summary: known.length ? summary(known) : "No calls to show.",
    drawing: rangeRows(known, kind),
    head: [head, "value", "95 %"],
    rows: known.map((row) => [
      row.name,
      written(row.figure.value, kind),
      between(row.figure, kind),
    ]),
  });
};

const highest = (kind) => (rows) => {
  const top = rows.reduce((a, b) => (b.figure.value > a.figure.value ? b : a));
  return `Highest: ${top.name}, ${written(top.figure.value, kind)}.`;
};

const drawEmotions = (data, state, calls) => {
  const rows = data.labels
    .map((label) => ({
      name: label,
      figure: figure(data, state, calls, data.shares[label]),
      colour: data.colours[label],
    }))
    .sort((a, b) => b.figure.value - a.figure.value);
  const title = "Emotions, by probability and speech time";
  draw("emotions", title, rows, "share", "emotion", highest("share"));
};

const drawQuarters = (data, state, calls) => {
  const rows = QUARTERS.map((name, q) => ({
    name,
    figure: quarterFigure(data, state, calls, q),
  }));
  const title = "Distress by quarter of the call";
  draw("quarters", title, rows, "share", "quarter", highest("share"));
};

const drawHours = (data, state, calls, { label, kind }) => {
  const dated = calls.filter((call) => call.at);
  const rows = [...grouped(dated, (call) => `${call.at.slice(11, 13)}:00`)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, own]) => ({
      name,
      figure: figure(data, state, own, state.measure),
      note: counted(own.length, "call"),
    }));
  const title = `${sentenceCase(label)} by hour of the day`;
  draw("hours", title, rows, kind, "hour", highest(kind));
};

// How many calls have which value.
const drawSpread = (data, state, calls, { label, kind }) => {
  const values = calls
    .map((call) => shareOf(data, call, state.measure))
    .filter((value) => value !== null);
  const low = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const high = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const width = (high - low) / BINS || 1;
  const counts = Array(BINS).fill(0);
  for (const value of values)
    counts[Math.min(BINS - 1, Math.floor((value - low) / width))]++;
  const rows = values.length
    ? counts.map((n, i) => ({
        name: `from ${written(low + i * width, kind)}`,
        figure: { value: n },
      }))
    : [];
  const title = `${sentenceCase(label)}, call by call`;
  const said = () => `${counted(values.length, "call")} with a value.`;
  draw("spread", title, rows, "count", "value", said);
};

export const drawMore = (data, state, calls) => {
  if (!byId("more").open) return;
  const measure = measureOf(data, state.measure);
  drawHours(data, state, calls, measure);
  drawSpread(data, state, calls, measure);
  drawEmotions(data, state, calls);
  drawQuarters(data, state, calls);
};
