// Numbers for people.

/** @param {number} bytes */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.95 && unit + 1 < units.length) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : value < 10 ? 2 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** @param {number} number */
export function count(number) {
  for (const [unit, letter] of /** @type {[number, string][]} */ ([[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]])) {
    if (number >= unit) return `${(number / unit).toFixed(number / unit < 10 ? 2 : 1)} ${letter}`;
  }
  return String(number);
}

/** @param {number} number @param {string} what */
export function several(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** Bytes from `5000000000`, `5GB` or `4.5 GiB`; none if it is no size. @param {string} text */
export function parseSize(text) {
  const match = /^\s*(\d+(?:\.\d{1,9})?)\s*([kmgt]?)(i?)b?\s*$/i.exec(text);
  if (!match) return undefined;
  const power = ["", "k", "m", "g", "t"].indexOf(match[2].toLowerCase());
  const bytes = Math.floor(Number(match[1]) * (match[3] ? 1024 : 1000) ** power);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}
