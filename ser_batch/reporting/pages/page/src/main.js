// The HTML report: what was chosen -> the calls shown -> cards, charts and table.

import "./page.css";
import { CallPanel } from "./call.js";
import { drawCards } from "./cards.js";
import { prepared, unpacked } from "./data.js";
import { byId, make } from "./dom.js";
import { csvOf, download } from "./export.js";
import { drawFilters } from "./filters.js";
import { drawGroups } from "./groups.js";
import { drawMore } from "./more.js";
import { selected, selectedBefore } from "./selection.js";
import { fromHash, toHash, withColumn, withoutFilters } from "./state.js";
import { CallTable } from "./table.js";
import { drawTrend } from "./trend.js";

const COPIED_MS = 1500;

const copy = async (button, address) => {
  button.dataset.label ??= button.textContent;
  try {
    await navigator.clipboard.writeText(address);
    button.textContent = "Copied";
  } catch {
    // Without access to the clipboard; the address bar has the same link.
    button.textContent = "In the address bar";
  }
  setTimeout(() => {
    button.textContent = button.dataset.label;
  }, COPIED_MS);
};

const choice = (id, names, chosen, then) => {
  const select = byId(id);
  select.replaceChildren(
    ...names.map(([value, text]) => make("option", { value }, text)),
  );
  select.value = chosen;
  select.onchange = () => then(select.value);
};

const start = (values) => {
  const data = prepared(values);
  const names = data.measures.map((m) => m.name);
  const measure = names.includes("distress_share")
    ? "distress_share"
    : (names[0] ?? "");
  const defaults = { by: data.by, measure };
  let state = fromHash(location.hash, defaults);
  if (!names.includes(state.measure)) state.measure = measure;
  if (!data.columns.includes(state.by)) state.by = data.by;
  let calls = [];

  const remember = (values) => {
    state = { ...state, ...values };
    history.replaceState(
      null,
      "",
      location.pathname + location.search + toHash(state, defaults),
    );
  };
  const change = (values) => {
    remember(values);
    draw();
  };
  const toggle = (name, value) => {
    const isChosen = state.columns[name] === value;
    change({ columns: withColumn(state, name, isChosen ? null : value) });
  };
  const chooseDay = (day) => change({ day: state.day === day ? "" : day });

  const draw = () => {
    calls = selected(data, state);
    const before = selectedBefore(data, state);
    drawFilters(data, state, change);
    drawCards(data, state, calls, before);
    if (data.measures.length) {
      drawTrend(data, state, chooseDay);
      drawGroups(data, state, (value) => toggle(state.by, value));
      drawMore(data, state, calls);
    }
    const [shown, all] = [calls.length, data.calls.length];
    byId("count").textContent =
      `${shown.toLocaleString("en")} of ${all.toLocaleString("en")}`;
    table.show(calls, () => change(withoutFilters(state)));
  };

  const panel = new CallPanel(data, {
    neighbours: () => table.ordered(),
    onChange: remember,
    onClose: (call) => table.focus(call),
  });
  const open = (call) => panel.open(call);
  const table = new CallTable(data, state, {
    open,
    play: (call, event) => {
      event.stopPropagation();
      panel.open(call, { plays: true });
    },
    onChange: remember,
  });

  const labels = data.measures.map((m) => [m.name, m.label]);
  choice("measure", labels, state.measure, (measure) => change({ measure }));
  const columns = data.columns.map((name) => [name, name]);
  choice("group", columns, state.by, (by) => change({ by }));
  byId("charts").hidden = !data.measures.length;
  byId("more").hidden = !data.measures.length;
  byId("more").ontoggle = () => drawMore(data, state, calls);
  byId("chooser").ontoggle = () => table.drawChooser();
  byId("export").onclick = () => download("calls.csv", csvOf(data, table.ordered()));
  byId("link").onclick = () => copy(byId("link"), location.href);
  byId("link-here").onclick = () => {
    remember({ t: String(panel.seconds()) });
    copy(byId("link-here"), location.href);
  };

  const setTheme = (theme) => {
    document.documentElement.dataset.theme = theme;
    byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
    draw();
    panel.draw();
  };
  byId("theme").onclick = () =>
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

  // A report is printed in the light theme.
  let screen = "light";
  addEventListener("beforeprint", () => {
    screen = document.documentElement.dataset.theme;
    if (screen === "dark") setTheme("light");
    byId("printed").replaceChildren(table.printed());
    for (const notes of document.querySelectorAll(".notes")) notes.open = true;
  });
  addEventListener("afterprint", () => {
    if (screen === "dark") setTheme("dark");
  });

  document.querySelector(".skip").onclick = (event) => {
    event.preventDefault();
    byId("calls").focus();
  };
  // A link that is pasted into the same page.
  addEventListener("hashchange", () => location.reload());

  const linked = data.byId.get(state.call);
  table.ready.then(() => {
    if (linked) {
      const seconds = /^\d+$/.test(state.t) ? Number(state.t) : null;
      panel.open(linked, { seconds, view: state.view });
    }
    document.body.dataset.ready = "true";
  });
};

window.serData = async (text) => start(await unpacked(text));
const inline = byId("data");
if (inline) window.serData(inline.textContent);
