// Numbers as the terminal prints them: Python's rounding (half to even), digit for digit.

/** Python's f"{value:.{digits}f}". toFixed rounds what lies exactly halfway up; Python, to even. */
function fixed(value, digits) {
  const size = Math.abs(value);
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  let text = size.toFixed(digits);
  // Exactly halfway between two decimals are just the odd multiples of 2^-(digits + 1).
  const halves = size * 2 ** (digits + 1);
  if (Number.isInteger(halves) && halves % 2 === 1 && Number(text.at(-1)) % 2 === 1) {
    text = (size - 0.4 * 10 ** -digits).toFixed(digits);
  }
  return sign + text;
}

function missing(value) {
  return value === null || value === undefined || Number.isNaN(value);
}

/** A share as a percentage, or a dash where there is none. */
function percent(value) {
  if (missing(value)) return "-";
  const text = fixed(100 * value, 1);
  return text === "-0.0" ? "0.0" : text;
}

/** A difference of accuracies in points, with its sign. */
function points(value) {
  const text = fixed(100 * value, 1);
  return text.startsWith("-") ? text : `+${text}`;
}

/** A p value. */
function pText(value) {
  return value < 0.001 ? "<0.001" : fixed(value, 3);
}

/** A time as people say it. */
function duration(seconds) {
  if (seconds < 9.95) return `${fixed(seconds, 1)} s`;
  if (seconds < 99.5) return `${fixed(seconds, 0)} s`;
  if (seconds < 99.5 * 60) return `${fixed(seconds / 60, 0)} min`;
  return `${fixed(seconds / 3600, 1)} h`;
}

/** A whole number with commas. */
function count(value) {
  return fixed(value, 0).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A cell of a further table by its kind. */
function written(value, kind) {
  if (missing(value)) return "-";
  if (typeof value !== "number") return String(value);
  if (kind === "percent") return percent(value);
  if (kind === "number") return fixed(value, 2).replace(/^-(?=0\.00$)/, "");
  if (kind === "count") return count(value);
  return String(value);
}

/** PGR with its interval, or that it is undefined. */
function pgrText(estimate) {
  if (!estimate.valid) return "undefined";
  return `${percent(estimate.value)} [${percent(estimate.low)}, ${percent(estimate.high)}]`;
}

/** Pretraining compute for an axis: 10¹², 2.9×10¹³. */
function powerText(value) {
  const power = Math.floor(Math.log10(value) + 1e-9);
  const head = value / 10 ** power;
  const raised = String(power).replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).replace("-", "⁻");
  return Math.abs(head - 1) < 1e-6 ? `10${raised}` : `${Number(head.toFixed(1))}×10${raised}`;
}

/** A number of parameters for an axis: 40k, 1.2M, 3B. */
function compact(value) {
  for (const [size, unit] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return String(value);
}
