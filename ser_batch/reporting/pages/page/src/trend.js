// A measure over time, with the period before as a dotted line.

import uPlot from "uplot";
import { drawChart } from "./charts.js";
import { measureOf } from "./data.js";
import { button, byId, colourOf, make } from "./dom.js";
import { daysBefore, daysBetween, daysOf, shifted } from "./periods.js";
import { figure, grouped, selected, selectedBefore, slotOf } from "./selection.js";
import { between, counted, sentenceCase, written } from "./text.js";

const HEIGHT = 132;
const STEPS = [1, 2, 3, 6, 7, 12, 14, 28, 91, 364];
let plot = null;

// One figure for each day (or hour) on which there are calls, in order.
const slotsOf = (data, state, calls, move = (slot) => slot) =>
  [
    ...grouped(
      calls.filter((call) => call.at),
      (call) => slotOf(data, call),
    ),
  ]
    .map(([slot, own]) => ({
      slot: move(slot),
      n: own.length,
      figure: figure(data, state, own, state.measure),
    }))
    .sort((a, b) => (a.slot < b.slot ? -1 : 1));

const secondsOf = (slot) =>
  Date.parse(slot.length > 10 ? `${slot}:00Z` : `${slot}T00:00Z`) / 1000;

const summaryOf = (slots, kind, unit) => {
  const known = slots.filter((s) => s.figure.value !== null);
  if (!known.length) return "No dated calls to show over time.";
  const [first] = known;
  if (known.length === 1)
    return `${first.slot.replace("T", " ")}: ${written(first.figure.value, kind)}.`;
  const sorted = [...known].sort((a, b) => a.figure.value - b.figure.value);
  const said = (s) => `${written(s.figure.value, kind)} on ${s.slot.replace("T", " ")}`;
  return (
    `${counted(known.length, unit)}; lowest ${said(sorted[0])}, ` +
    `highest ${said(sorted.at(-1))}.`
  );
};

const series = (slots, earlier) => {
  const times = [...new Set([...slots, ...earlier].map((s) => secondsOf(s.slot)))].sort(
    (a, b) => a - b,
  );
  const column = (list, value) => {
    const known = new Map(
      list.map((s) => [secondsOf(s.slot), value(s.figure) ?? null]),
    );
    return times.map((t) => known.get(t) ?? null);
  };
  return [
    times,
    column(slots, (f) => f.value),
    column(slots, (f) => f.low),
    column(slots, (f) => f.high),
    column(earlier, (f) => f.value),
  ];
};

const options = (width, kind, daily, isSingle) => {
  const step = daily ? 86_400 : 3600;
  const line = colourOf("--line");
  const ink = colourOf("--soft");
  const accent = colourOf("--accent");
  const axis = {
    stroke: ink,
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
  };
  const edge = { stroke: "transparent", points: { show: false } };
  return {
    width,
    height: HEIGHT,
    tzDate: (t) => uPlot.tzDate(new Date(t * 1000), "Etc/UTC"),
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 9 } },
    scales: {
      x: {
        range: (_, low, high) => (isSingle ? [low - step, low + step] : [low, high]),
      },
      y: {
        range: (_, low, high) => {
          if (low === null) return [0, 1];
          const floor = kind === "score" ? low - 0.05 : Math.min(0, low);
          return [floor, high > floor ? high + (high - floor) * 0.08 : floor + 1];
        },
      },
    },
    axes: [
      {
        ...axis,
        size: 24,
        space: 70,
        incrs: STEPS.map((n) => n * step),
        values: (_, ticks) =>
          ticks.map((t) => {
            const iso = new Date(t * 1000).toISOString();
            return daily ? iso.slice(5, 10) : iso.slice(11, 16);
          }),
      },
      {
        ...axis,
        size: 56,
        space: 24,
        values: (_, ticks) => ticks.map((v) => written(v, kind)),
      },
    ],
    series: [
      {},
      { stroke: accent, width: 2, points: { show: true, size: 6, fill: accent } },
      edge,
      edge,
      { stroke: ink, width: 1.5, dash: [3, 4], points: { show: false } },
    ],
    bands: [{ series: [3, 2], fill: colourOf("--band") }],
  };
};

const drawn = (slots, earlier, kind, daily, choose) => {
  const values = series(slots, earlier);
  const hover = make("p", { class: "hover small", "aria-hidden": "true" }, "\u00a0");
  const canvas = make("div", { class: "canvas" });
  const frame = make("div", { class: "trend" }, canvas, hover);
  // The slot under the cursor; there is none where only the period before has calls.
  const pointed = ({ cursor }) =>
    slots.find((s) => secondsOf(s.slot) === values[0][cursor.idx]);
  const draw = () => {
    plot?.destroy();
    plot = null;
    if (!values[0].length || !canvas.isConnected) return;
    plot = new uPlot(
      {
        ...options(canvas.clientWidth, kind, daily, values[0].length === 1),
        hooks: {
          setCursor: [
            (self) => {
              const slot = pointed(self);
              const spread = slot && between(slot.figure, kind);
              hover.textContent = slot
                ? `${slot.slot.replace("T", " ")}: ${written(slot.figure.value, kind)}` +
                  `${spread && ` (${spread})`}, ${counted(slot.n, "call")}`
                : "\u00a0";
            },
          ],
        },
      },
      values,
      canvas,
    );
    plot.over.addEventListener("click", () => {
      const slot = pointed(plot);
      if (slot) choose(slot.slot);
    });
  };
  // The width is known once the chart is in the document.
  new ResizeObserver(draw).observe(canvas);
  return frame;
};

export const drawTrend = (data, state, choose) => {
  const measure = measureOf(data, state.measure);
  const { kind } = measure;
  const slots = slotsOf(data, state, selected(data, state, "day"));
  const days = daysOf(state.period, data.today);
  const before = days ? selectedBefore(data, state, "day") : null;
  const move = days ? daysBetween(daysBefore(days)[0], days[0]) : 0;
  const earlier = before
    ? slotsOf(data, state, before, (slot) => shifted(slot, move))
    : [];
  const then = new Map(earlier.map((s) => [s.slot, s.figure]));
  const unit = data.daily ? "day" : "hour";
  const name = (s) => {
    const text = s.slot.replace("T", " ");
    return button(text, () => choose(s.slot), {
      "aria-pressed": String(state.day === s.slot),
    });
  };
  const drawing = drawn(slots, earlier, kind, data.daily, choose);
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `${measure.label} by ${unit}`);
  const dotted = earlier.length ? " Dotted: the period before." : "";
  drawChart(byId("trend"), {
    title: `${sentenceCase(measure.label)} by ${unit}`,
    summary: summaryOf(slots, kind, unit) + dotted,
    drawing,
    head: [unit, "value", "95 %", "calls", ...(before ? ["before"] : [])],
    rows: slots.map((s) => [
      name(s),
      written(s.figure.value, kind),
      between(s.figure, kind),
      s.n.toLocaleString("en"),
      ...(before ? [written(then.get(s.slot)?.value, kind)] : []),
    ]),
  });
};
