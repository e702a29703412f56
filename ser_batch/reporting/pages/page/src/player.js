// Playing a call: speed, silences that are skipped, and what cannot be played.

import { byId } from "./dom.js";

const LEAST_SILENCE_S = 1.5;
const UNREACHABLE =
  "The recording cannot be played from here; use the times to find the moments.";

// Pauses of everyone, from the speech of all sides.
const pausesOf = (call, details) => {
  const spans = details.speech
    .flatMap(([, times]) =>
      times.flatMap((t, i) => (i % 2 ? [] : [[t / 100, times[i + 1] / 100]])),
    )
    .sort((a, b) => a[0] - b[0]);
  const pauses = [];
  let end = 0;
  for (const [from, to] of [...spans, [call.s, call.s]]) {
    if (from - end >= LEAST_SILENCE_S) pauses.push([end, from]);
    end = Math.max(end, to);
  }
  return pauses;
};

export class Player {
  constructor() {
    this.media = byId("player");
    this.pauses = [];
    this.media.addEventListener("timeupdate", () => this.skip());
    byId("speed").addEventListener("change", () => this.setSpeed());
  }

  load(call, note) {
    this.media.hidden = !call.audio;
    for (const control of document.querySelectorAll(".playing"))
      control.hidden = !call.audio;
    this.pauses = [];
    if (call.audio) this.media.src = call.audio;
    else {
      this.media.removeAttribute("src");
      this.media.load();
    }
    byId("player-note").textContent = call.audio ? note : UNREACHABLE;
    this.setSpeed();
  }

  know(call, details) {
    this.pauses = pausesOf(call, details);
  }

  setSpeed() {
    const rate = Number(byId("speed").value);
    this.media.defaultPlaybackRate = rate;
    this.media.playbackRate = rate;
  }

  skip() {
    if (!byId("skip").checked || this.media.paused) return;
    const now = this.media.currentTime;
    const pause = this.pauses.find(([from, to]) => now > from + 0.3 && now < to - 0.5);
    if (pause) this.media.currentTime = pause[1] - 0.3;
  }

  play() {
    this.media.play().catch(() => {});
  }

  toggle() {
    if (this.media.hidden) return;
    if (this.media.paused) this.play();
    else this.media.pause();
  }

  stop() {
    this.media.pause();
  }
}
