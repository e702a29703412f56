// Periods are whole days, and the one before has the same length.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  daysBefore,
  daysOf,
  isWithin,
  shifted,
} from "../../../ser_batch/reporting/pages/page/src/periods.js";

const WEDNESDAY = "2026-03-04";

test("periods are relative to the day of the report", () => {
  assert.deepEqual(daysOf("yesterday", WEDNESDAY), ["2026-03-03", "2026-03-04"]);
  assert.deepEqual(daysOf("7d", WEDNESDAY), ["2026-02-26", "2026-03-05"]);
  assert.deepEqual(daysOf("last-week", WEDNESDAY), ["2026-02-23", "2026-03-02"]);
  assert.deepEqual(daysOf("last-week", "2026-03-01"), ["2026-02-16", "2026-02-23"]);
  assert.deepEqual(daysOf("month", WEDNESDAY), ["2026-03-01", "2026-03-05"]);
  assert.equal(daysOf("all", WEDNESDAY), null);
});

test("the period before ends where the period begins", () => {
  assert.deepEqual(daysBefore(["2026-02-23", "2026-03-02"]), ["2026-02-16", "2026-02-23"]);
});

test("a call belongs to a period by its local time, and an undated one to none", () => {
  const days = daysOf("yesterday", WEDNESDAY);
  assert.ok(isWithin("2026-03-03T00:00", days));
  assert.ok(isWithin("2026-03-03T23:59", days));
  assert.ok(!isWithin("2026-03-04T00:00", days));
  assert.ok(!isWithin("", days));
});

test("a slot keeps its hour when it is moved", () => {
  assert.equal(shifted("2026-02-28T09", 7), "2026-03-07T09");
});
