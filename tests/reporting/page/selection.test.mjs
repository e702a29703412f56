// Filters find the calls that they name, and figures add up over them.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  figure,
  grouped,
  groupOf,
  selected,
  selectedBefore,
} from "../../../ser_batch/reporting/pages/page/src/selection.js";
import { emptyState } from "../../../ser_batch/reporting/pages/page/src/state.js";

const call = (id, at, queue, over, grew = false) => ({
  id,
  at,
  meta: [queue],
  sums: [over, 10, over / 2, 10],
  grew,
  text: `${id} ${queue}`,
});

const data = {
  calls: [
    call("a", "2026-03-02T10:00", "billing", 5, true),
    call("b", "2026-03-03T11:00", "sales", 1),
    call("c", "2026-03-04T12:00", "billing", 2),
    call("d", "", null, 9),
  ],
  columns: ["queue"],
  measures: [
    { name: "distress_share", scale: "logit" },
    { name: "angry_share", scale: "logit" },
  ],
  measureIndex: new Map([
    ["distress_share", 0],
    ["angry_share", 1],
  ]),
  intervals: { cluster: null, minUnits: 5, tails: 1, logT: [1, 1] },
  today: "2026-03-04",
  daily: true,
};

const found = (values, but) =>
  selected(data, { ...emptyState(), ...values }, but).map((own) => own.id);

test("each filter alone", () => {
  assert.deepEqual(found({}), ["a", "b", "c", "d"]);
  assert.deepEqual(found({ period: "yesterday" }), ["b"]);
  assert.deepEqual(found({ period: "undated" }), ["d"]);
  assert.deepEqual(found({ day: "2026-03-04" }), ["c"]);
  assert.deepEqual(found({ columns: { queue: "billing" } }), ["a", "c"]);
  assert.deepEqual(found({ columns: { queue: "(unknown)" } }), ["d"]);
  assert.deepEqual(found({ distress: [20, 50] }), ["a", "c"]);
  assert.deepEqual(found({ anger: [null, 10] }), ["b", "c"]);
  assert.deepEqual(found({ grew: true }), ["a"]);
  assert.deepEqual(found({ q: "SALES b" }), ["b"]);
});

test("filters are combined, and a chart leaves out its own", () => {
  const values = { columns: { queue: "billing" }, q: "c" };
  assert.deepEqual(found(values), ["c"]);
  assert.deepEqual(found({ columns: { queue: "sales" }, distress: [15, null] }, "queue"), ["a", "c", "d"]);
});

test("the period before has the same filters", () => {
  const state = { ...emptyState(), period: "yesterday", columns: { queue: "billing" } };
  assert.deepEqual(selectedBefore(data, state).map((own) => own.id), ["a"]);
  assert.equal(selectedBefore(data, emptyState()), null);
  assert.equal(selectedBefore(data, { ...state, q: "nothing" }), null);
});

test("a figure is a ratio of sums", () => {
  assert.equal(figure(data, emptyState(), data.calls, "distress_share").value, 17 / 40);
  assert.equal(figure(data, emptyState(), [], "distress_share").value, null);
});

test("groups keep the order of the calls", () => {
  const groups = grouped(data.calls, (own) => groupOf(data, own, "queue"));
  assert.deepEqual([...groups.keys()], ["billing", "sales", "(unknown)"]);
});
