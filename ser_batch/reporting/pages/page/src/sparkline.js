// A call's distress in a small picture. Levels are texts: a digit for each equal part of
// the call (0 to 9), or a dot where nothing was scored.

import { svg } from "./dom.js";

const WIDTH = 96;
const HEIGHT = 22;

export const sparkline = (levels) => {
  const step = WIDTH / levels.length;
  const bars = [...levels].flatMap((level, i) => {
    if (level === ".") return [];
    const height = 2 + (Number(level) / 9) * (HEIGHT - 2);
    const strength = level >= "5" ? "high" : level >= "3" ? "some" : "low";
    return [
      svg("rect", {
        class: strength,
        x: (i * step).toFixed(1),
        y: (HEIGHT - height).toFixed(1),
        width: Math.max(step - 1, 1).toFixed(1),
        height: height.toFixed(1),
      }),
    ];
  });
  const frame = { class: "spark", width: WIDTH, height: HEIGHT, "aria-hidden": "true" };
  return svg("svg", { ...frame, viewBox: `0 0 ${WIDTH} ${HEIGHT}` }, ...bars);
};
