// Numbers and times as text.

const twoDigits = (n) => String(n).padStart(2, "0");

export const clock = (seconds) => {
  const s = Math.floor(seconds);
  const hours = Math.floor(s / 3600);
  const rest = `${twoDigits(Math.floor(s / 60) % 60)}:${twoDigits(s % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
};

const isMissing = (value) =>
  value === null || value === undefined || Number.isNaN(value);

export const written = (value, kind) => {
  if (isMissing(value)) return "–";
  if (kind === "count") return value.toLocaleString("en");
  if (kind === "share") return `${(value * 100).toFixed(1)} %`;
  if (kind === "seconds" || kind === "offset") return `${value.toFixed(1)} s`;
  return value.toFixed(kind === "score" || kind === "rate" ? 2 : 1);
};

const withoutUnit = (text) => text.replace(/ (%|s|pp)$/, "");

export const between = (figure, kind) =>
  figure.low === undefined
    ? ""
    : `${withoutUnit(written(figure.low, kind))} to ${written(figure.high, kind)}`;

// A change; that of a share is in percentage points.
export const changed = (value, kind) => {
  if (isMissing(value)) return "–";
  const sign = value < 0 ? "−" : "+";
  return sign + written(Math.abs(value), kind).replace(" %", " pp");
};

export const changedBetween = (figure, kind) =>
  figure.low === undefined
    ? ""
    : `${withoutUnit(changed(figure.low, kind))} to ` +
      withoutUnit(changed(figure.high, kind));

export const counted = (n, noun) =>
  `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

export const sentenceCase = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// "delivery/2026-03-02_queue_0123456.wav" as "delivery/2026-…0123456.wav".
export const elided = (text, n) => {
  if (text.length <= n) return text;
  const tail = Math.ceil((n - 1) * 0.6);
  return `${text.slice(0, n - 1 - tail)}…${text.slice(-tail)}`;
};
