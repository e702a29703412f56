// The waveforms of a call under one playhead, with its distress, its labels, and who
// speaks when.

import WaveSurfer from "wavesurfer.js";
import Regions from "wavesurfer.js/dist/plugins/regions.esm.js";
import Timeline from "wavesurfer.js/dist/plugins/timeline.esm.js";
import { colourOf, svg } from "./dom.js";
import { clock } from "./text.js";

const CHANNEL_PX = 44;
const SCALE = 255;
const INTERVALS_S = [5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200];
const LABELS_SHOWN = 8;

// Levels in bytes of dB, as heights that look like a waveform.
const heights = (curve) =>
  Array.from(atob(curve), (c) => (c.charCodeAt(0) / SCALE) ** 2);

const rect = (call, from, to, y, height, attributes, title) => {
  const node = svg("rect", {
    x: from / (100 * call.s),
    width: Math.max((to - from) / (100 * call.s), 0.0005),
    y,
    height,
    ...attributes,
  });
  if (title) node.append(svg("title", {}, title));
  return node;
};

const at = (s) => clock(s / 100);

const titleOf = (data, [from, to, label, , level]) => {
  const heard = data.labels.length ? [label ?? "unsure"] : [];
  if (level !== null) heard.push(`${data.line} ${(level / 1000).toFixed(2)}`);
  return `${at(from)} to ${at(to)}: ${heard.join(", ")}`;
};

// Distress, or the arousal of a model that has none, over the whole height.
const levelLine = (data, call, details) => {
  const x = (s) => s / (100 * call.s);
  const d = details.segments
    .filter(([, , , , level]) => level !== null)
    .map(([from, to, , , level]) => {
      const y = (1 - level / 1000).toFixed(3);
      return `M${x(from)} ${y}H${x(to)}`;
    })
    .join("");
  const path = svg("path", {
    d,
    class: "level",
    "vector-effect": "non-scaling-stroke",
  });
  const hits = details.segments.map((segment) =>
    rect(call, segment[0], segment[1], 0, 1, { class: "hit" }, titleOf(data, segment)),
  );
  return [path, ...hits];
};

const labelStrip = (data, call, details) =>
  details.segments
    .filter(([, , label]) => label !== null)
    .map((segment) => {
      const [from, to, label] = segment;
      const fill = { fill: data.colours[label] };
      return rect(call, from, to, 0, 1, fill, titleOf(data, segment));
    });

// All probabilities of each segment, stacked, with those of distress at the bottom.
const stacked = (data, call, details) => {
  const order = data.labels
    .map((label, i) => ({ label, i, isDistress: data.distress.includes(label) }))
    .sort((a, b) => b.isDistress - a.isDistress);
  return details.segments.flatMap((segment) => {
    const [from, to, , probabilities] = segment;
    let below = 0;
    return order.map(({ label, i }) => {
      const p = probabilities[i] / 1000;
      below += p;
      const title = `${titleOf(data, segment)}; ${label} ${p.toFixed(2)}`;
      const fill = { fill: data.colours[label] };
      return rect(call, from, to, 1 - below, p, fill, title);
    });
  });
};

const strip = (className, height, children) => {
  const frame = { class: `strip ${className}`, viewBox: "0 0 1 1", height };
  return svg(
    "svg",
    { ...frame, preserveAspectRatio: "none", width: "100%" },
    ...children,
  );
};

const talkStrip = (data, call, times, number, name) => {
  const fill = { fill: data.channels[number % data.channels.length] };
  const spans = [];
  for (let k = 0; k < times.length; k += 2) {
    const title = `${name} speaks, ${at(times[k])} to ${at(times[k + 1])}`;
    spans.push(rect(call, times[k], times[k + 1], 0, 1, fill, title));
  }
  return strip("talk", 7, spans);
};

// The labels that are drawn: all of them, or those given to the call, longest first.
export const labelsOf = (data, details, showsAll) => {
  if (showsAll) return data.labels.map((label) => [label, data.colours[label]]);
  const counts = new Map();
  for (const [from, to, label] of details.segments)
    if (label !== null) counts.set(label, (counts.get(label) ?? 0) + to - from);
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .slice(0, LABELS_SHOWN)
    .map(([label]) => [label, data.colours[label]]);
};

export const drawWaveform = (container, media, data, call, details, showsAll) => {
  const curves = details.levels.length ? details.levels.map(heights) : [[0, 0]];
  const every = INTERVALS_S.find((s) => call.s / s <= 10) ?? 7200;
  const regions = Regions.create();
  // A channel with several voices has the colour of none of them.
  const isShared = details.speech.length > curves.length;
  const colour = (i) =>
    isShared ? colourOf("--soft") : data.channels[i % data.channels.length];
  const waves = WaveSurfer.create({
    container,
    media,
    peaks: curves,
    duration: call.s,
    height: CHANNEL_PX,
    cursorColor: colourOf("--focus"),
    cursorWidth: 2,
    splitChannels: curves.map((_, i) => ({
      waveColor: colour(i),
      progressColor: colour(i),
    })),
    normalize: true,
    dragToSeek: true,
    plugins: [regions],
  });
  const strips = [
    ...details.speech.map(([side, times], i) =>
      talkStrip(data, call, times, i, details.roles[side]),
    ),
    showsAll
      ? strip("all", 70, stacked(data, call, details))
      : strip("line", 46, levelLine(data, call, details)),
    strip("labels", 10, labelStrip(data, call, details)),
  ];
  const wrapper = waves.getWrapper();
  const height = strips.reduce(
    (sum, own) => sum + Number(own.getAttribute("height")) + 3,
    0,
  );
  const holder = document.createElement("div");
  holder.part.add("strips");
  holder.style.cssText = `position:relative;z-index:2;height:${height}px`;
  const style = document.createElement("style");
  style.textContent =
    `.strip{display:block;margin-top:3px;background:${colourOf("--paper")}}` +
    `.level{fill:none;stroke:${colourOf("--ink")};stroke-width:2.5px}` +
    `.hit{fill:transparent}`;
  holder.append(style, ...strips);
  wrapper.append(holder);
  waves.on("ready", () => {
    // Not before: a server that does not answer ranges gives an endless length at first,
    // and the timeline would be drawn to its end.
    waves.registerPlugin(
      Timeline.create({
        height: 18,
        timeInterval: every / 5,
        primaryLabelInterval: every,
        secondaryLabelOpacity: 0,
        formatTimeCallback: clock,
      }),
    );
    for (const [from, to] of details.episodes)
      regions.addRegion({
        start: from / 100,
        end: to / 100,
        drag: false,
        resize: false,
        color: colourOf("--episode"),
      });
  });
  return waves;
};
