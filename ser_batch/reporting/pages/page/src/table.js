// The table of calls. Tabulator keeps only the rows in view in the document.

import {
  FilterModule,
  FormatModule,
  InteractionModule,
  ResizeColumnsModule,
  ResizeTableModule,
  SortModule,
  Tabulator,
} from "tabulator-tables";
import { cardOf, columnsOf, mainColumns } from "./columns.js";
import { button, byId, make, table } from "./dom.js";

Tabulator.registerModule([
  FilterModule,
  FormatModule,
  InteractionModule,
  ResizeColumnsModule,
  ResizeTableModule,
  SortModule,
]);

const ROW_PX = 36;
const ROWS_BEYOND = 12;
const PRINTED = 20;
const CARD_PX = 58;
const PHONE = matchMedia("(max-width: 640px)");

// Missing values come last, in either direction.
const sorter = (of) => (_a, _b, rowA, rowB, _column, direction) => {
  const [x, y] = [of(rowA.getData().call), of(rowB.getData().call)];
  const missing = (value) => value === null || value === undefined;
  if (missing(x) || missing(y)) {
    const last = Number(missing(x)) - Number(missing(y));
    return direction === "asc" ? last : -last;
  }
  if (typeof x === "number" && typeof y === "number") return x - y;
  return String(x).localeCompare(String(y), "en", { numeric: true });
};

const definition = (column, hidden) => ({
  field: column.key,
  title: column.title,
  // Titles may be names of metadata columns: as text, not as markup.
  titleFormatter: () =>
    make("span", column.isUntitled ? { class: "unseen" } : {}, column.title),
  formatter: (cell) => column.show(cell.getData().call),
  headerSort: Boolean(column.of),
  headerSortStartingDir: column.startsHigh ? "desc" : "asc",
  ...(column.of ? { sorter: sorter(column.of) } : {}),
  hozAlign: column.align ?? "left",
  headerHozAlign: column.align ?? "left",
  width: column.width,
  visible: !hidden.includes(column.key),
  resizable: !column.isFixed,
});

const phoneColumn = {
  field: "phone",
  titleFormatter: () => make("span", {}, "calls"),
  formatter: (cell) => cardOf(cell.getData().call),
  headerSort: false,
  widthGrow: 1,
};

export class CallTable {
  constructor(data, state, { open, play, onChange }) {
    this.columns = columnsOf(data, play);
    this.main = mainColumns(data).map((name) => `is.${name}`);
    this.shown = new Set(data.calls);
    this.isEmpty = !data.calls.length;
    const given = state.sort.replace(/^-/, "");
    const isKnown = this.columns.some((column) => column.key === given && column.of);
    const sorted = isKnown ? given : "concern";
    const descending = !isKnown || state.sort.startsWith("-");
    const hidden = state.hidden ?? [];
    const definitions = PHONE.matches
      ? [
          { ...phoneColumn, width: byId("table").clientWidth - 4 },
          ...this.columns
            .filter((column) => column.of)
            .map((column) => ({ ...definition(column, []), visible: false })),
        ]
      : this.columns.map((column) => definition(column, hidden));
    this.table = new Tabulator("#table", {
      data: data.calls.map((call) => ({ id: call.id, call })),
      columns: definitions,
      height: "calc(100vh - var(--bar) - 44px)",
      minHeight: 320,
      rowHeight: PHONE.matches ? CARD_PX : ROW_PX,
      renderVerticalBuffer: ROW_PX * ROWS_BEYOND,
      layout: "fitData",
      initialSort: [{ column: sorted, dir: descending ? "desc" : "asc" }],
      placeholder: () => this.placeholder,
      rowFormatter: (row) => {
        const element = row.getElement();
        const { call } = row.getData();
        element.dataset.id = call.id;
        element.tabIndex = -1;
        element.classList.toggle("failed", call.error !== null);
      },
      columnDefaults: { headerHozAlign: "left" },
    });
    this.table.on("rowClick", (_, row) => open(row.getData().call));
    this.ready = new Promise((resolve) => {
      this.table.on("tableBuilt", () => {
        byId("table").setAttribute("aria-label", "Calls");
        // Its rows take the focus.
        byId("table")
          .querySelector(".tabulator-tableholder")
          .removeAttribute("tabindex");
        this.table.setFilter((row) => this.shown.has(row.call));
        resolve();
      });
    });
    this.table.on("dataSorted", (sorters) => {
      const [sort] = sorters;
      if (sort) onChange({ sort: (sort.dir === "desc" ? "-" : "") + sort.field });
    });
    byId("table").addEventListener("keydown", (event) => this.move(event, open));
    this.onChange = onChange;
  }

  // Tabulator draws anew what it needs to; only the filter changes.
  async show(calls, clear) {
    this.shown = new Set(calls);
    this.placeholder = make(
      "div",
      { class: "nothing" },
      ...(this.isEmpty
        ? [make("p", {}, "There are no calls in this report.")]
        : [make("p", {}, "No calls match."), button("Clear filters", clear)]),
    );
    await this.ready;
    this.table.refreshFilter();
    const first = this.table.getRows("active")[0];
    if (first) first.getElement().tabIndex = 0;
  }

  // The calls in the order of the table.
  ordered() {
    return this.table.getData("active").map((row) => row.call);
  }

  // The first calls, in a table for paper.
  printed() {
    const calls = this.ordered().slice(0, PRINTED);
    const names = ["path", "at", "s", "peak", "why"];
    const columns = this.columns.filter(
      (column) => names.includes(column.key) || this.main.includes(column.key),
    );
    return table(
      columns.map((column) => column.title),
      calls.map((call) => [call.path, ...columns.slice(1).map((c) => c.show(call))]),
    );
  }

  focus(call) {
    this.table.getRow(call.id)?.getElement().focus();
  }

  move(event, open) {
    const element = event.target.closest(".tabulator-row");
    if (!element || event.target.closest("button")) return;
    const row = this.table.getRow(element.dataset.id);
    if (event.key === "Enter" || event.key === " ") {
      open(row.getData().call);
      event.preventDefault();
      // Space in an open call plays it.
      event.stopPropagation();
      return;
    }
    const to = { ArrowDown: () => row.getNextRow(), ArrowUp: () => row.getPrevRow() }[
      event.key
    ]?.();
    if (!to) return;
    event.preventDefault();
    element.tabIndex = -1;
    to.getElement().tabIndex = 0;
    to.getElement().focus();
  }

  drawChooser() {
    const choices = this.columns.filter((column) => !column.isUntitled);
    byId("columns").replaceChildren(
      ...choices.map((column) => {
        const box = make("input", { type: "checkbox" });
        box.checked = this.table.getColumn(column.key).isVisible();
        box.onchange = () => {
          this.table.toggleColumn(column.key);
          const hidden = this.columns
            .filter((own) => !this.table.getColumn(own.key).isVisible())
            .map((own) => own.key);
          this.onChange({ hidden });
        };
        return make("label", {}, box, column.title);
      }),
    );
  }
}
