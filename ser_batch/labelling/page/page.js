// The clip that is next plays at once; one key answers it. The server keeps each answer
// on disk before it names the next clip.

const LEVELS = [-2, -1, 0, 1, 2];
const SCALES = {
  arousal: ["very calm", "calm", "in between", "excited", "very excited"],
  valence: ["very unpleasant", "unpleasant", "neutral", "pleasant", "very pleasant"],
};
const QUESTIONS = {
  label: "How does this person sound?",
  arousal: "How excited?",
  valence: "How pleasant?",
};

const byId = (id) => document.getElementById(id);
const audio = byId("clip");
let state = null;
let given = {};
let isBusy = false;

const steps = () => ["label", ...(state.dimensions ? Object.keys(SCALES) : [])];
const step = () => steps().find((name) => !(name in given));

const play = () => {
  audio.currentTime = 0;
  // Browsers play nothing before the first key or click on a page.
  audio.play().catch(() => {});
};

const choices = (name) =>
  name === "label"
    ? state.labels.map((label) => [label, label])
    : LEVELS.map((level, i) => [level, SCALES[name][i]]);

const offer = (name) => {
  byId("question").textContent = QUESTIONS[name];
  byId("choices").replaceChildren(
    ...choices(name).map(([value, text], i) => {
      const button = document.createElement("button");
      const key = document.createElement("kbd");
      key.textContent = i + 1;
      button.append(key, text);
      button.onclick = () => choose(name, value);
      return button;
    }),
  );
};

const show = () => {
  const { done, total, per_hour: rate } = state;
  byId("bar").max = Math.max(total, 1);
  byId("bar").value = done;
  byId("count").textContent =
    `${done} of ${total}${rate ? `, ${rate} an hour` : ""}, ${state.labeller}`;
  byId("last").textContent = state.last ? `Answered last: ${state.last}` : "";
  const isDone = state.clip === null;
  given = {};
  audio.hidden = isDone;
  for (const button of byId("others").querySelectorAll("button"))
    button.hidden = isDone && button.dataset.key !== "u";
  if (isDone) {
    byId("question").textContent = "That was the last one. Thank you!";
    byId("choices").replaceChildren();
    audio.removeAttribute("src");
    return;
  }
  offer("label");
  audio.src = `clips/${state.clip}`;
  play();
  if (state.next) fetch(`clips/${state.next}`).catch(() => {});
};

audio.onerror = () => {
  if (state?.clip)
    byId("error").textContent =
      "This clip cannot be played: it is gone, or damaged. Press x.";
};

const ask = async (path, options) => {
  if (isBusy) return;
  isBusy = true;
  try {
    const response = await fetch(path, options);
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    state = answer;
    byId("error").textContent = "";
    show();
  } catch (error) {
    byId("error").textContent =
      `${options ? "Not kept" : "Cannot be shown"}: ${error.message}. ` +
      "Try again once this is fixed.";
    if (state?.clip) {
      given = {};
      offer("label");
    }
  } finally {
    isBusy = false;
  }
};

const send = (answer) =>
  ask("answers", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ clip: state.clip ?? "", ...answer }),
  });

const choose = (name, value) => {
  given[name] = value;
  const next = step();
  if (next) offer(next);
  else send(given);
};

const KEYS = {
  " ": play,
  s: () => send({}),
  x: () => send({ unusable: true }),
  u: () => {
    // What is half answered is taken back first.
    if (Object.keys(given).length) {
      given = {};
      offer("label");
    } else send({ undone: true });
  },
};

const press = (key) => {
  if (!state || isBusy) return;
  if (key === "u" || state.clip !== null) KEYS[key]?.();
  if (state.clip === null || !/^[1-9]$/.test(key)) return;
  const name = step();
  const choice = choices(name)[Number(key) - 1];
  if (choice) choose(name, choice[0]);
};

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " ") event.preventDefault();
  press(event.key);
});
for (const button of byId("others").querySelectorAll("button"))
  button.onclick = () => {
    press(button.dataset.key);
    button.blur();
  };
ask("state");
