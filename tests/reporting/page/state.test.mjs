// What the reader chose survives in the address.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  emptyState,
  fromHash,
  toHash,
  withoutFilters,
} from "../../../ser_batch/reporting/pages/page/src/state.js";

test("nothing chosen is an empty hash", () => {
  assert.equal(toHash(emptyState()), "");
  assert.deepEqual(fromHash(""), emptyState());
});

test("everything that can be chosen comes back from the hash", () => {
  const chosen = {
    ...emptyState(),
    period: "last-week",
    day: "2026-03-02",
    q: "späť & 100 % #1",
    by: "queue",
    measure: "angry_share",
    sort: "peak",
    call: "ab12",
    t: "63",
    view: "full",
    grew: true,
    anger: [20, null],
    distress: [null, 45.5],
    columns: { queue: "a=b&c", "my column": "" },
    hidden: ["why", "is.a,b"],
  };
  assert.deepEqual(fromHash(toHash(chosen)), chosen);
});

test("a hash of something else is ignored", () => {
  assert.deepEqual(fromHash("#section-2&anger=high-low&__proto__=1"), emptyState());
});

test("clearing filters keeps what is open and how it is sorted", () => {
  const state = { ...emptyState(), q: "x", period: "7d", call: "ab", sort: "path" };
  const { q, period, call, sort } = withoutFilters(state);
  assert.deepEqual({ q, period, call, sort }, { q: "", period: "all", call: "ab", sort: "path" });
});
