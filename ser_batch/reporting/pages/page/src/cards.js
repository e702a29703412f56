// Five figures of the calls shown, each with its interval and its change.

import { measureOf } from "./data.js";
import { byId, make } from "./dom.js";
import { difference } from "./estimates.js";
import { figure } from "./selection.js";
import { between, changed, changedBetween, counted, written } from "./text.js";

const CARDS = [
  ["angry_share", "Anger"],
  ["distress_share", "Distress"],
  ["escalated_share", "Grew upset"],
  ["silence_share", "Silence"],
];

const line = (left, right) => make("div", { class: "line" }, left, right);

const card = (title, value, spread, change, meaning) =>
  make(
    "div",
    { class: "card", title: meaning },
    line(make("span", { class: "name" }, title), make("b", {}, value)),
    line(
      make("small", {}, spread || "\u00a0"),
      make("small", { class: "change" }, ...change),
    ),
  );

const countCard = (calls, before) => {
  const failed = calls.filter((call) => call.error !== null).length;
  const hours = calls.reduce((sum, call) => sum + (call.s || 0), 0) / 3600;
  const length = hours < 1 ? `${Math.round(hours * 60)} min` : `${hours.toFixed(1)} h`;
  const facts = [length, failed ? `${failed} failed` : ""];
  const change = before ? [`${counted(before.length, "call")} before`] : [];
  const value = calls.length.toLocaleString("en");
  return card("Calls", value, facts.filter(Boolean).join(", "), change, "");
};

// The change against the period before; without one, against what the report compares.
const changeOf = (data, state, name, now, before, isWhole) => {
  if (before) return difference(now, figure(data, state, before, name));
  return isWhole ? data.comparison?.change[name] : undefined;
};

export const drawCards = (data, state, calls, before) => {
  const isWhole = calls.length === data.calls.length;
  const cards = CARDS.filter(([name]) => data.measureIndex.has(name)).map(
    ([name, title]) => {
      const { kind, meaning } = measureOf(data, name);
      const now = figure(data, state, calls, name);
      const change = changeOf(data, state, name, now, before, isWhole);
      const spread = changedBetween(change ?? {}, kind);
      return card(
        title,
        written(now.value, kind),
        between(now, kind),
        change && change.value !== null
          ? [
              changed(change.value, kind),
              make("span", { class: "spread" }, spread && ` (${spread})`),
            ]
          : [],
        meaning,
      );
    },
  );
  byId("cards").replaceChildren(countCard(calls, before), ...cards);
};
