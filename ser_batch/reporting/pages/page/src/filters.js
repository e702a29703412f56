// The bar of filters: what it offers, and what was chosen.

import { mainColumns } from "./columns.js";
import { button, byId, make } from "./dom.js";
import { daysOf, isWithin, PERIODS, UNDATED } from "./periods.js";
import { groupOf } from "./selection.js";
import { withColumn } from "./state.js";

const WAIT_MS = 120;
const RANGES = [
  ["Anger", "anger", "angry_share"],
  ["Distress", "distress", "distress_share"],
];

const choose = (label, options, chosen, onchange) => {
  const select = make(
    "select",
    { onchange: () => onchange(select.value) },
    ...options.map(([value, text, disabled]) =>
      make("option", { value, ...(disabled ? { disabled: "" } : {}) }, text),
    ),
  );
  select.value = chosen;
  return make("label", {}, make("span", { class: "label" }, label), select);
};

const periodChoice = (data, state, change) => {
  const options = Object.entries(PERIODS).map(([value, text]) => {
    const days = daysOf(value, data.today);
    const isEmpty = days && !data.calls.some((call) => isWithin(call.at, days));
    const isOffered = !isEmpty || state.period === value;
    return [value, isEmpty ? `${text} (no calls)` : text, !isOffered];
  });
  if (data.nUndated) options.push([UNDATED, `Undated (${data.nUndated})`]);
  return choose("Period", options, state.period, (period) =>
    change({ period, day: "" }),
  );
};

const columnChoice = (data, state, name, change) => {
  const values = new Set(data.calls.map((call) => groupOf(data, call, name)));
  const sorted = [...values].sort((a, b) =>
    a.localeCompare(b, "en", { numeric: true }),
  );
  const options = [["", "all"], ...sorted.map((value) => [`=${value}`, value])];
  const chosen = name in state.columns ? `=${state.columns[name]}` : "";
  return choose(name, options, chosen, (value) => {
    change({ columns: withColumn(state, name, value ? value.slice(1) : null) });
  });
};

const rangeText = ([low, high]) => {
  if (low === null && high === null) return "any";
  if (high === null) return `from ${low} %`;
  return low === null ? `to ${high} %` : `${low} to ${high} %`;
};

const rangeChoice = (label, name, state, change) => {
  const range = [...state[name]];
  const bound = (i, text) => {
    const field = make("input", { type: "number", min: 0, max: 100, step: 5 });
    field.value = range[i] ?? "";
    field.onchange = () => {
      range[i] = field.value === "" ? null : Math.max(0, Number(field.value));
      change({ [name]: range });
    };
    return make("label", {}, `${text} `, field, " %");
  };
  return make(
    "details",
    { class: "menu", name: "menu" },
    make(
      "summary",
      {},
      make("span", { class: "label" }, label),
      make("span", { class: "choice" }, rangeText(range)),
    ),
    make("div", { class: "popup" }, bound(0, "from"), bound(1, "to")),
  );
};

const grewChoice = (state, change) => {
  const box = make("input", { type: "checkbox" });
  box.checked = state.grew;
  box.onchange = () => change({ grew: box.checked });
  return make("label", { class: "check" }, box, "grew upset");
};

// Filters that the bar has no control for, each with a button that removes it.
const chips = (data, state, change) => {
  const own = mainColumns(data);
  const found = Object.entries(state.columns).filter(([name]) => !own.includes(name));
  const remove = (name, value, onclick) =>
    button(`${name}: ${value} ×`, onclick, {
      "aria-label": `Remove the filter ${name}: ${value}`,
    });
  const nodes = found.map(([name, value]) =>
    remove(name, value, () => change({ columns: withColumn(state, name, null) })),
  );
  if (state.day)
    nodes.push(
      remove(data.daily ? "day" : "hour", state.day.replace("T", " "), () =>
        change({ day: "" }),
      ),
    );
  return nodes;
};

// A click elsewhere closes an open menu.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]"))
    if (!menu.contains(event.target)) menu.open = false;
});

let waiting = 0;

export const drawFilters = (data, state, change) => {
  const has = (name) => data.measureIndex.has(name);
  const opened = document.activeElement?.closest("#filters details")?.dataset.name;
  const controls = [
    periodChoice(data, state, change),
    ...mainColumns(data).map((name) => columnChoice(data, state, name, change)),
  ];
  for (const [label, name, share] of RANGES)
    if (has(share)) {
      const menu = rangeChoice(label, name, state, change);
      menu.dataset.name = name;
      menu.open = opened === name;
      controls.push(menu);
    }
  if (has("escalated_share")) controls.push(grewChoice(state, change));
  byId("filters").replaceChildren(...controls);
  byId("chips").replaceChildren(...chips(data, state, change));
  const search = byId("search");
  if (search !== document.activeElement) search.value = state.q;
  search.oninput = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => change({ q: search.value }), WAIT_MS);
  };
};
