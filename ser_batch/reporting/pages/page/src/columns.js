// The columns of the table of calls.

import { measureOf, PREFERRED } from "./data.js";
import { button, make } from "./dom.js";
import { shareOf } from "./selection.js";
import { sparkline } from "./sparkline.js";
import { clock, elided, written } from "./text.js";

const PATH_LENGTH = 30;

// The columns that people filter by most: queue and agent, if there are any.
export const mainColumns = (data) => {
  const preferred = PREFERRED.filter((name) => data.columns.includes(name));
  const others = data.columns.filter((name) => !preferred.includes(name));
  // A folder for each queue says the same twice.
  const repeats = (name) =>
    preferred.some((own) => {
      const [i, k] = [data.columns.indexOf(name), data.columns.indexOf(own)];
      return data.calls.every((call) => call.meta[i] === call.meta[k]);
    });
  const useful = others.filter((name) => data.varied.has(name) && !repeats(name));
  const last = others.filter((name) => !useful.includes(name) && !repeats(name));
  return [...preferred, ...useful, ...last].slice(0, 2);
};

const text = (value, attributes = {}) => make("span", attributes, value);

const optional = (value, show) => text(value === null ? "–" : show(value));

const reasonOf = (call) => (call.error === null ? call.why : `failed: ${call.error}`);

const metadata = (data, name) => {
  const i = data.columns.indexOf(name);
  return {
    key: `is.${name}`,
    title: name,
    of: (call) => call.meta[i],
    show: (call) => {
      const value = String(call.meta[i] ?? "–");
      return text(value, { title: value });
    },
    width: 110,
  };
};

const measureColumn = (data, name, title) => ({
  key: name,
  title,
  of: (call) => shareOf(data, call, name),
  show: (call) => text(written(shareOf(data, call, name), measureOf(data, name).kind)),
  width: 96,
  align: "right",
  startsHigh: true,
});

// Each has `key`, `title`, `of` (to sort by), `show` (a node) and a width.
export const columnsOf = (data, play) => {
  const main = mainColumns(data);
  const known = (name) => data.measureIndex.has(name);
  const anger = [["angry_share", "anger"]].filter(([name]) => known(name));
  const shares = [
    ["distress_share", "distress"],
    ["valence", "valence"],
    ["silence_share", "silence"],
    ["overtalk_share", "overtalk"],
  ].filter(([name]) => known(name));
  return [
    {
      key: "play",
      title: "play",
      isUntitled: true,
      show: (call) =>
        call.audio
          ? button("▶", (event) => play(call, event), {
              class: "play quiet",
              "aria-label": `Play ${call.path}`,
            })
          : text(""),
      width: 44,
      isFixed: true,
    },
    {
      key: "path",
      title: "recording",
      of: (call) => call.path,
      show: (call) => text(elided(call.path, PATH_LENGTH), { title: call.path }),
      width: 250,
    },
    ...main.map((name) => metadata(data, name)),
    {
      key: "at",
      title: "start",
      of: (call) => call.at || null,
      show: (call) => text(call.at ? call.at.replace("T", " ") : "undated"),
      width: 152,
      startsHigh: true,
    },
    {
      key: "s",
      title: "length",
      of: (call) => call.s,
      show: (call) => optional(call.s, clock),
      width: 92,
      align: "right",
      startsHigh: true,
    },
    {
      key: "concern",
      title: "concern",
      of: (call) => call.concern,
      show: (call) => optional(call.concern, (value) => value.toFixed(2)),
      width: 106,
      align: "right",
      startsHigh: true,
    },
    {
      key: "peak",
      title: "peak distress, worst moment",
      of: (call) => call.peak,
      show: (call) =>
        make(
          "span",
          { class: "peak" },
          call.spark ? sparkline(call.spark) : "",
          call.peak === null
            ? "–"
            : call.peak.toFixed(2) +
                (call.peakAt === null ? "" : `, from ${clock(call.peakAt)}`),
        ),
      width: 250,
      startsHigh: true,
    },
    ...anger.map(([name, title]) => measureColumn(data, name, title)),
    {
      key: "why",
      title: "why",
      of: (call) => reasonOf(call) || null,
      show: (call) => text(reasonOf(call), { title: reasonOf(call) }),
      width: 300,
    },
    ...shares.map(([name, title]) => measureColumn(data, name, title)),
    ...data.columns
      .filter((name) => !main.includes(name))
      .map((n) => metadata(data, n)),
  ];
};

// A call on a phone: two lines.
export const cardOf = (call) =>
  make(
    "span",
    { class: "phone" },
    make("span", { class: "line" }, elided(call.path, 34)),
    make(
      "span",
      { class: "line soft" },
      [
        call.at.replace("T", " "),
        call.s === null ? "" : clock(call.s),
        call.error === null
          ? call.peak === null
            ? ""
            : `peak ${call.peak.toFixed(2)}`
          : "failed",
      ]
        .filter(Boolean)
        .join(" · "),
      call.spark ? sparkline(call.spark) : "",
    ),
  );
