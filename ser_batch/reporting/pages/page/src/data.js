// The data of the page: all calls at once, and the details of a call on demand.

import { make } from "./dom.js";

export const PREFERRED = ["queue", "agent"];

export const prepared = (data) => {
  for (const call of data.calls)
    call.text = [call.path, call.at, call.why, call.error, ...call.meta]
      .filter((value) => value !== null && value !== undefined)
      .join(" ")
      .toLowerCase();
  data.byId = new Map(data.calls.map((call) => [call.id, call]));
  data.measureIndex = new Map(data.measures.map((m, i) => [m.name, i]));
  const days = data.calls.map((call) => call.at.slice(0, 10)).filter(Boolean);
  data.daily = new Set(days).size > 1;
  data.nUndated = data.calls.length - days.length;
  data.by ??= data.columns.find((name) => PREFERRED.includes(name)) ?? "folder";
  data.varied = new Set(
    data.columns.filter((_, i) =>
      data.calls.some((c) => c.meta[i] !== data.calls[0].meta[i]),
    ),
  );
  return data;
};

export const measureOf = (data, name) => data.measures[data.measureIndex.get(name)];

// Compressed JSON in base64.
export const unpacked = async (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes])
    .stream()
    .pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
};

// In a single file the chunks are elements; in a folder, scripts that call serChunk.
const chunks = new Map();
const waiting = new Map();
window.serChunk = (number, text) => {
  waiting.get(number)?.(text);
  waiting.delete(number);
};

const loaded = (number) =>
  new Promise((resolve, reject) => {
    waiting.set(number, resolve);
    const script = make("script", { src: `calls/${number}.js` });
    script.onerror = () => reject(new Error(`cannot load calls/${number}.js`));
    document.head.append(script);
  });

export const detailsOf = async (data, call) => {
  const number = Math.floor(call.place / data.chunk);
  if (!chunks.has(number)) {
    const inline = document.getElementById(`chunk-${number}`);
    const text = inline ? inline.textContent : await loaded(number);
    chunks.set(number, await unpacked(text));
  }
  const details = chunks.get(number)[call.place % data.chunk];
  // The folder of a report may be written again while its page is open.
  if (details?.id !== call.id) throw new Error("the report has changed; reload it");
  return details;
};
