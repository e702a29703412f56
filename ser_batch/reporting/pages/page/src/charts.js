// The frame of a chart: a title, a sentence that says what it shows, and its table.

import { button, make, table } from "./dom.js";

// Which charts are shown as tables; it survives that they are drawn anew.
const asTable = new Set();

// Draws into `node`. `drawing` is a node; `rows` are [name or button, value, ...].
export const drawChart = (node, { title, summary, drawing, head, rows }) => {
  const id = node.id;
  const shown = asTable.has(id);
  const list = make("div", { class: "wide chart-table" }, table(head, rows));
  const toggle = button(shown ? "Chart" : "Table", () => {
    if (!asTable.delete(id)) asTable.add(id);
    drawChart(node, { title, summary, drawing, head, rows });
    node.querySelector("button.toggle").focus();
  });
  toggle.className = "toggle quiet";
  toggle.setAttribute("aria-label", shown ? "View as chart" : "View as table");
  node.replaceChildren(
    make("h2", { class: "chart-title" }, make("span", {}, title), toggle),
    make("p", { class: "small summary" }, summary),
    shown ? list : drawing,
  );
};
