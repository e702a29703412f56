// Rows of a name, a dot with its interval on a common scale, and the value as text.

import { make } from "./dom.js";
import { between, written } from "./text.js";

const scaleOf = (rows, kind) => {
  const values = rows.flatMap(({ figure: f }) => [f.low ?? f.value, f.high ?? f.value]);
  const low = kind === "share" || kind === "rate" ? 0 : Math.min(0, ...values);
  const high = Math.max(...values, low + 1e-9);
  return (value) => (100 * (value - low)) / (high - low);
};

const track = ({ figure: f, isFew, colour }, at) => {
  const node = make("span", { class: "track", "aria-hidden": "true" });
  if (f.low !== undefined) {
    const line = make("i", { class: "interval" });
    line.style.left = `${at(f.low)}%`;
    line.style.width = `${at(f.high) - at(f.low)}%`;
    node.append(line);
  }
  const dot = make("i", { class: isFew ? "dot few" : "dot" });
  dot.style.left = `${at(f.value)}%`;
  if (colour) dot.style.setProperty("--dot", colour);
  node.append(dot);
  return node;
};

// `rows` have `name`, `figure`, and maybe `note`, `isFew`, `isChosen`, `colour`; with
// `onChoose`, each is a button.
export const rangeRows = (rows, kind, onChoose = null) => {
  const at = scaleOf(rows, kind);
  return make(
    "div",
    { class: "ranges" },
    ...rows.map((row) => {
      const text = written(row.figure.value, kind);
      const spread = between(row.figure, kind);
      const parts = [
        make("span", { class: "name", title: row.name }, row.name),
        track(row, at),
        make("span", { class: "value" }, text),
        make("span", { class: "unseen" }, spread),
        make("span", { class: "note" }, row.note ?? ""),
      ];
      if (!onChoose) return make("div", { class: "range", title: spread }, ...parts);
      return make(
        "button",
        {
          type: "button",
          class: "range",
          title: spread,
          "aria-pressed": String(Boolean(row.isChosen)),
          onclick: () => onChoose(row.name),
        },
        ...parts,
      );
    }),
  );
};
