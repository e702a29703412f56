// The calls that are going on, asked for once a second. Everything that comes from a
// call is inserted with textContent, never as markup.

const EVERY_MS = 1000;
const ANSWERED_MS = 5000;
const SHOWN_S = 60;
const HEIGHT = 20;
const HIGH = 0.5;
const SOME = 0.3;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

// The token comes behind the #, which browsers do not send to any server.
let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";

class WrongToken extends Error {}

const asked = async (path) => {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const signal = AbortSignal.timeout(ANSWERED_MS);
  const answer = await fetch(path, { headers, signal });
  if (answer.status === 401) throw new WrongToken();
  return answer.json();
};

const make = (tag, name, text = "") => {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
};

const clock = (seconds) => {
  const whole = Math.floor(seconds);
  const rest = String(whole % 60).padStart(2, "0");
  return `${Math.floor(whole / 60)}:${rest}`;
};

const strength = (value) => (value >= HIGH ? "high" : value >= SOME ? "some" : "low");

// A second is a number (its distress), true (speech without a score) or false (silence).
// Speech that goes on is drawn paler: crosstalk is not removed from it yet.
const strip = (seconds, unfinished, who) => {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${SHOWN_S} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${who}, the last minute`);
  const first = SHOWN_S - seconds.length;
  const [from, to, soFar] = unfinished ?? [0, -1, 0];
  for (const [i, known] of seconds.entries()) {
    const goesOn = typeof known === "boolean" && from <= i && i <= to;
    const second = goesOn ? soFar : known;
    if (second === false) continue;
    const height = second === true ? 1.5 : 2 + second * (HEIGHT - 2);
    const bar = document.createElementNS(SVG, "rect");
    const name = second === true ? "talks" : strength(second);
    bar.setAttribute("class", goesOn ? `${name} unfinished` : name);
    bar.setAttribute("x", first + i);
    bar.setAttribute("y", HEIGHT - height);
    bar.setAttribute("width", 0.9);
    bar.setAttribute("height", height);
    svg.append(bar);
  }
  return svg;
};

const entry = (call) => {
  const item = make("li", "");
  const who = make("div", "");
  const name = make("div", "name", call.call);
  name.title = call.call;
  who.append(name, make("div", "about", `${call.protocol}, ${clock(call.heard_s)}`));
  const need = make("div", "");
  const value = call.distress;
  const shown = value === null ? "–" : value.toFixed(2);
  const emphasis = value !== null && value >= HIGH ? "distress high" : "distress";
  const sounds = call.label === null ? "" : `last ${call.label}`;
  need.append(make("div", emphasis, shown), make("div", "about", sounds));
  const strips = make("div", "strips");
  for (const [i, seconds] of call.last_minute.entries()) {
    const speaker = call.roles[i] ?? `channel ${i}`;
    const drawn = strip(seconds, call.unfinished[i], speaker);
    strips.append(make("span", "", speaker), drawn);
  }
  item.append(who, need, strips);
  return item;
};

const trouble = (text) => {
  byId("state").textContent = text;
  byId("state").dataset.trouble = "";
};

const show = (calls, health) => {
  byId("ask").hidden = true;
  byId("none").hidden = calls.length > 0;
  byId("calls").replaceChildren(...calls.map(entry));
  if (health.status === "ok") {
    byId("state").textContent = `${calls.length} of at most ${health.most_calls}`;
    delete byId("state").dataset.trouble;
  } else if (health.status === "draining") {
    trouble("The server is stopping, and takes no more calls.");
  } else {
    trouble(`Ended calls cannot be saved: ${health.error}`);
  }
};

const forget = () => {
  byId("calls").replaceChildren();
  byId("none").hidden = true;
};

let next; // one at a time, however often the token is sent

const refresh = async () => {
  try {
    show(...(await Promise.all([asked("calls"), asked("healthz")])));
  } catch (error) {
    forget();
    if (error instanceof WrongToken) {
      byId("state").textContent = "";
      byId("wrong").textContent = token ? "That is not the token." : "";
      byId("ask").hidden = false;
      return;
    }
    trouble("The server does not answer.");
  }
  clearTimeout(next);
  next = setTimeout(refresh, EVERY_MS);
};

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  refresh();
});

refresh();
