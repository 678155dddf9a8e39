// Numbers on axes and in words.

/** A number in few letters. */
export function shown(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5)
    ? value.toExponential(digits - 2).replace(/\.?0+e/, "e").replace("e+", "e")
    : String(Number(value.toPrecision(digits)));
  return text.replace(/-/g, "−");
}

/** Round numbers within a range, about as many as wanted, and two at least. */
export function ticks(low, high, wanted = 4) {
  if (!(high > low)) return [low];
  const found = rounded(low, high, wanted);
  return found.length > 1 || wanted > 60 ? found : ticks(low, high, 2 * wanted);
}

function rounded(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

/** Numbers in as few letters as tell them apart. */
export function apart(values) {
  for (let digits = 3; digits < 9; digits++) {
    const words = values.map((v) => shown(v, digits));
    if (new Set(words).size === words.length) return words;
  }
  return values.map(String);
}

/** Ticks of a depth axis; on a logarithmic one the powers of ten. */
export function depthTicks(times, log, wanted = 6) {
  const [first, last] = [times[0], times[times.length - 1]];
  if (!log) return ticks(first, last, wanted);
  const floor = times.length > 1 ? times[1] - first : 1;
  const found = [first];
  for (let e = Math.ceil(Math.log10(floor)); 10 ** e <= last - first; e++) found.push(first + 10 ** e);
  if (found.at(-1) < last) found.push(last);
  return found;
}

/** The least and the greatest of finite numbers, a little apart. */
export function extent(...lists) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) for (const v of list) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  if (low > high) return [0, 1];
  const least = 1e-9 * Math.max(Math.abs(low), Math.abs(high)) || 0.5;
  return high - low > least ? [low, high] : [low - Math.max(least, Math.abs(low) * 0.05), high + Math.max(least, Math.abs(high) * 0.05)];
}
