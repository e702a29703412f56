// One call: its waveform, its moments, and its recording.

import { detailsOf } from "./data.js";
import { button, byId, make } from "./dom.js";
import { Player } from "./player.js";
import { clock } from "./text.js";
import { drawWaveform, labelsOf } from "./waveform.js";

const ZOOM_PX = 24;

export class CallPanel {
  // `neighbours` gives the calls in the order of the table.
  constructor(data, { neighbours, onChange, onClose }) {
    this.data = data;
    this.neighbours = neighbours;
    this.onChange = onChange;
    this.onClose = onClose;
    this.player = new Player();
    this.waves = null;
    this.call = null;
    this.details = null;
    this.panel = byId("call");
    byId("close").onclick = () => this.close();
    byId("previous").onclick = () => this.step(-1);
    byId("next").onclick = () => this.step(1);
    byId("full").onclick = () => this.setView(this.isFull() ? "" : "full");
    byId("zoom").oninput = () => this.zoom();
    byId("all-emotions").onchange = () => this.draw();
    this.player.media.addEventListener("error", () => this.cannotPlay());
    document.addEventListener("keydown", (event) => this.pressed(event));
  }

  isFull() {
    return this.panel.classList.contains("full");
  }

  setView(view) {
    this.panel.classList.toggle("full", view === "full");
    byId("full").textContent = view === "full" ? "Side panel" : "Full page";
    if (this.call) this.onChange({ view });
  }

  async open(call, { seconds = null, plays = false, view = "" } = {}) {
    this.stop();
    this.call = call;
    this.details = null;
    this.panel.hidden = false;
    this.setView(view);
    this.onChange({ call: call.id, t: seconds === null ? "" : String(seconds) });
    byId("call-title").textContent = call.path;
    byId("call-facts").textContent = this.factsOf(call);
    byId("call-body").hidden = call.error !== null;
    byId("moments").replaceChildren();
    byId("cuts").replaceChildren();
    byId("legend").replaceChildren();
    this.player.load(call, this.data.audioNote);
    this.panel.focus();
    if (call.error !== null) return;
    let details;
    try {
      details = await detailsOf(this.data, call);
    } catch (error) {
      if (this.call === call)
        byId("player-note").textContent =
          `The details of this call cannot be shown: ${error.message}`;
      return;
    }
    if (this.call !== call) return;
    this.details = details;
    this.player.know(call, this.details);
    this.draw();
    this.drawMoments();
    if (plays) this.goTo(seconds ?? call.peakAt ?? 0);
    else if (seconds !== null) this.seekWhenReady(seconds);
  }

  factsOf(call) {
    if (call.error !== null) return `failed: ${call.error}`;
    const meta = this.data.columns.map((name, i) =>
      call.meta[i] === null ? "" : `${name}: ${call.meta[i]}`,
    );
    const at = call.at ? call.at.replace("T", " ") : "undated";
    const length = call.s === null ? "" : clock(call.s);
    return [at, length, ...meta, call.notes].filter(Boolean).join(" · ");
  }

  draw() {
    if (!this.details) return;
    const now = this.waves?.getCurrentTime() ?? 0;
    this.waves?.destroy();
    byId("waveform").replaceChildren();
    const showsAll = byId("all-emotions").checked;
    const media = this.call.audio ? this.player.media : undefined;
    this.waves = drawWaveform(
      byId("waveform"),
      media,
      this.data,
      this.call,
      this.details,
      showsAll,
    );
    // A click goes there and plays, as a click on a moment does.
    this.waves.on("click", () => this.player.play());
    if (now) this.seekWhenReady(now);
    byId("zoom").value = "0";
    const sides = this.details.speech.map(([side], i) => [
      this.details.roles[side],
      this.data.channels[i % this.data.channels.length],
    ]);
    const stroke = make("i", { class: "stroke" });
    const line = make("span", {}, stroke, `${this.data.line}, 0 to 1`);
    byId("legend").replaceChildren(
      ...(showsAll || !this.data.line ? [] : [line]),
      ...[...sides, ...labelsOf(this.data, this.details, showsAll)].map(
        ([name, colour]) => {
          const swatch = make("i", { class: "swatch" });
          swatch.style.background = colour;
          return make("span", {}, swatch, name);
        },
      ),
    );
  }

  drawMoments() {
    const { moments, cuts } = this.details;
    byId("moments-title").hidden = !moments.length;
    byId("moments").replaceChildren(
      ...moments.map(([at, who, reason]) =>
        make(
          "li",
          {},
          make(
            "button",
            { type: "button", onclick: () => this.goTo(at / 100) },
            make("time", {}, clock(at / 100)),
            `${who}: ${reason}`,
          ),
        ),
      ),
    );
    if (cuts.length)
      byId("cuts").replaceChildren(
        make("h3", {}, "Interruptions and attempts"),
        make(
          "ul",
          {},
          ...cuts.map(([at, said]) =>
            make(
              "li",
              {},
              button(clock(at / 100), () => this.goTo(at / 100)),
              ` ${said}`,
            ),
          ),
        ),
      );
  }

  zoom() {
    const share = Number(byId("zoom").value) / 100;
    const fits = byId("waveform").clientWidth / this.call.s;
    this.waves?.zoom(share ? fits + share * Math.max(ZOOM_PX - fits, 1) : 0);
  }

  // To a second of the call, and on from there.
  goTo(seconds) {
    this.waves?.setTime(seconds);
    this.onChange({ t: String(Math.floor(seconds)) });
    if (this.call.audio) this.player.play();
  }

  seekWhenReady(seconds) {
    const { waves } = this;
    waves.once("ready", () => waves.setTime(seconds));
  }

  seconds() {
    return Math.floor(this.waves?.getCurrentTime() ?? 0);
  }

  // To the next moment in time, or to the one before.
  toMoment(direction) {
    const times = (this.details?.moments ?? [])
      .map(([at]) => at / 100)
      .sort((a, b) => a - b);
    const now = this.waves?.getCurrentTime() ?? 0;
    const to =
      direction > 0
        ? times.find((t) => t > now + 0.5)
        : times.findLast((t) => t < now - 1.5);
    if (to !== undefined) this.goTo(to);
  }

  step(direction) {
    const calls = this.neighbours();
    const to = calls[calls.indexOf(this.call) + direction];
    if (to) this.open(to, { view: this.isFull() ? "full" : "" });
  }

  pressed(event) {
    if (!this.call || event.ctrlKey || event.metaKey || event.altKey) return;
    const writes = event.target.closest(
      'input:not([type="checkbox"]), select, textarea',
    );
    if (writes && event.key !== "Escape") return;
    // Enter goes to a moment again, space pauses it.
    const onButton =
      event.target.closest("button, summary, a, input") &&
      !event.target.closest("#moments, #cuts, #link-here");
    const actions = {
      Escape: () => this.close(),
      j: () => this.toMoment(1),
      k: () => this.toMoment(-1),
      n: () => this.step(1),
      p: () => this.step(-1),
      " ": onButton ? null : () => this.player.toggle(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  cannotPlay() {
    if (!this.call?.audio) return;
    this.player.media.hidden = true;
    byId("player-note").textContent =
      "This browser cannot play the recording, or it cannot be reached from here; " +
      "use the times to find the moments.";
  }

  stop() {
    this.player.stop();
    this.waves?.destroy();
    this.waves = null;
    byId("waveform").replaceChildren();
  }

  close() {
    const { call } = this;
    this.stop();
    this.call = null;
    this.details = null;
    this.panel.hidden = true;
    this.onChange({ call: "", t: "", view: "" });
    this.onClose(call);
  }
}
