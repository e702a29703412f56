// The calls shown as CSV.

import { make } from "./dom.js";
import { shareOf } from "./selection.js";

const FORMULA = /^[=+\-@\t\r]/;

// No spreadsheet takes a text for a formula (OWASP, CSV injection).
const cell = (value) => {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export const csvOf = (data, calls) => {
  const head = [
    "recording_id",
    "path",
    "started_at",
    "duration_s",
    "status",
    "concern",
    "peak_distress",
    "peak_at_s",
    "why",
    ...data.columns,
    ...data.measures.map((m) => m.name),
  ];
  const rows = calls.map((call) => [
    call.id,
    call.path,
    call.at,
    call.s,
    call.error === null ? "done" : "failed",
    call.concern,
    call.peak,
    call.peakAt,
    call.error ?? call.why,
    ...call.meta,
    ...data.measures.map((m) => shareOf(data, call, m.name)),
  ]);
  return [head, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
};

export const download = (name, text) => {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
};
