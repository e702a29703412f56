// What the reader chose: all of it is in the address' hash, so that a link opens what
// its sender saw.

const TEXTS = ["period", "day", "q", "by", "measure", "sort", "call", "t", "view"];
const FLAGS = ["grew"];
const RANGES = ["anger", "distress"];
const COLUMN = "is.";

const DEFAULTS = { period: "all", sort: "-concern" };

export const emptyState = () => ({
  ...Object.fromEntries(TEXTS.map((name) => [name, ""])),
  ...DEFAULTS,
  grew: false,
  anger: [null, null],
  distress: [null, null],
  columns: {},
  hidden: null,
});

const bound = (text) => {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? Math.max(value, 0) : null;
};

// `defaults` are texts that the page chooses for itself: they are not in the address.
export const fromHash = (hash, defaults = {}) => {
  const state = { ...emptyState(), ...defaults };
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  for (const [name, text] of given) {
    if (TEXTS.includes(name)) state[name] = text;
    else if (FLAGS.includes(name)) state[name] = text === "1";
    else if (RANGES.includes(name)) {
      const [low, high] = text.split("-");
      state[name] = [bound(low), bound(high)];
    } else if (name.startsWith(COLUMN)) state.columns[name.slice(COLUMN.length)] = text;
    else if (name === "hide")
      state.hidden = [...(state.hidden ?? []), text].filter(Boolean);
  }
  return state;
};

export const toHash = (state, defaults = {}) => {
  const chosen = new URLSearchParams();
  const usual = { ...DEFAULTS, ...defaults };
  for (const name of TEXTS)
    if (state[name] && state[name] !== usual[name]) chosen.set(name, state[name]);
  for (const name of FLAGS) if (state[name]) chosen.set(name, "1");
  for (const name of RANGES) {
    const [low, high] = state[name];
    if (low !== null || high !== null) chosen.set(name, `${low ?? ""}-${high ?? ""}`);
  }
  for (const [name, value] of Object.entries(state.columns))
    chosen.set(COLUMN + name, value);
  // None hidden is a choice, too.
  for (const name of state.hidden?.length === 0 ? [""] : (state.hidden ?? []))
    chosen.append("hide", name);
  const text = chosen.toString();
  return text && `#${text}`;
};

// The columns to filter by, with another value of one; null removes it.
export const withColumn = ({ columns }, name, value) => {
  const { [name]: _, ...others } = columns;
  return value === null ? others : { ...others, [name]: value };
};

// The state without its filters; what is open and how it is sorted stays.
export const withoutFilters = (state) => ({
  ...emptyState(),
  ...Object.fromEntries(
    ["by", "measure", "sort", "call", "t", "view", "hidden"].map((name) => [
      name,
      state[name],
    ]),
  ),
});
