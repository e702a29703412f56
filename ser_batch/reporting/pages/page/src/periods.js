// Periods of whole days, relative to the day on which the page was made, so that a link
// means the same tomorrow. Days are texts, "2026-03-02".

const DAY_MS = 86_400_000;

const plusDays = (day, n) =>
  new Date(Date.parse(`${day}T00:00Z`) + n * DAY_MS).toISOString().slice(0, 10);

export const daysBetween = (from, to) =>
  Math.round((Date.parse(`${to}T00:00Z`) - Date.parse(`${from}T00:00Z`)) / DAY_MS);

// Weeks begin on Monday.
const monday = (day) =>
  plusDays(day, -((new Date(`${day}T00:00Z`).getUTCDay() + 6) % 7));

export const UNDATED = "undated";

export const PERIODS = {
  all: "All",
  yesterday: "Yesterday",
  "7d": "Last 7 days",
  "last-week": "Last week",
  month: "This month",
};

// The first day of a period and the day after its last; null if it has no limits.
export const daysOf = (period, today) => {
  const ends = plusDays(today, 1);
  switch (period) {
    case "yesterday":
      return [plusDays(today, -1), today];
    case "7d":
      return [plusDays(today, -6), ends];
    case "last-week":
      return [plusDays(monday(today), -7), monday(today)];
    case "month":
      return [`${today.slice(0, 7)}-01`, ends];
    default:
      return null;
  }
};

// The period of the same length before; weeks are compared with weeks.
export const daysBefore = ([from, to]) => {
  const length = daysBetween(from, to);
  return [plusDays(from, -length), from];
};

export const isWithin = (at, [from, to]) => at >= from && at < to;

// How many days a slot of the earlier period lies before the same one of the later.
export const shifted = (slot, days) =>
  plusDays(slot.slice(0, 10), days) + slot.slice(10);
