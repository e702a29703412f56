// Numbers, times, names and CSV as a reader sees them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { csvOf } from "../../../ser_batch/reporting/pages/page/src/export.js";
import {
  between,
  changed,
  clock,
  counted,
  elided,
  written,
} from "../../../ser_batch/reporting/pages/page/src/text.js";

test("times have hours only if there are any", () => {
  assert.deepEqual([0, 65.9, 3600].map(clock), ["00:00", "01:05", "1:00:00"]);
});

test("shares are percentages, and their changes percentage points", () => {
  assert.equal(written(0.1234, "share"), "12.3 %");
  assert.equal(between({ low: 0.1, high: 0.2 }, "share"), "10.0 to 20.0 %");
  assert.equal(changed(-0.05, "share"), "−5.0 pp");
  assert.equal(changed(0.05, "share"), "+5.0 pp");
  assert.equal(written(null, "share"), "–");
});

test("long names lose their middle", () => {
  assert.equal(elided("short.wav", 20), "short.wav");
  const name = elided("delivery/2026-03-02/0123456789.wav", 20);
  assert.equal(name.length, 20);
  assert.ok(name.startsWith("delive") && name.endsWith("789.wav"));
});

test("nouns agree with their number", () => {
  assert.deepEqual([1, 2, 1000].map((n) => counted(n, "call")), ["1 call", "2 calls", "1,000 calls"]);
});

test("no cell of the CSV is taken for a formula, and quotes are doubled", () => {
  const data = { columns: ["queue"], measures: [], measureIndex: new Map() };
  const call = {
    id: "a",
    path: '=HYPERLINK("x")',
    at: "",
    s: -1.5,
    error: null,
    concern: null,
    peak: 0.5,
    peakAt: 3,
    why: "a, b",
    meta: [null],
    sums: [],
  };
  const [, row] = csvOf(data, [call]).split("\n");
  assert.equal(row, `a,"'=HYPERLINK(""x"")",,-1.5,done,,0.5,3,"a, b",`);
});
