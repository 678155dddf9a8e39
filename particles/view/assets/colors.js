// Colors that all readers can tell apart, on light and on dark paper.

export const SETS = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#22252a"],
  dark: ["#3fa3e0", "#f0823a", "#2fc298", "#e39cc3", "#f2b53a", "#8fd0f5", "#e8eaed"],
};
export const GRAYS = { light: "#a9aeb6", dark: "#626a75" };

export function rgb(hex) {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

/** The color of a branch by its rank; those without one are gray. */
export function rankColor(rank, theme) {
  return rank < 0 ? GRAYS[theme] : SETS[theme][rank % SETS[theme].length];
}

/** Lightness, chroma and hue (in turns) as red, green and blue: the inverse of Ottosson's OKLab. */
export function oklch(lightness, chroma, turn) {
  const [a, b] = [chroma * Math.cos(2 * Math.PI * turn), chroma * Math.sin(2 * Math.PI * turn)];
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((v) => Math.round(255 * Math.min(Math.max(v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055, 0), 1)));
}

/** A scale from dark blue to light yellow on light paper; its lightness rises evenly. */
export function ramp(part, theme) {
  const p = Math.min(Math.max(part, 0), 1);
  const [low, high] = theme === "dark" ? [0.46, 0.94] : [0.32, 0.86];
  return oklch(low + (high - low) * p, 0.1 + 0.06 * p, 0.76 - 0.48 * p);
}

/** A scale for sheets of numbers: the least is nearly the paper, the greatest stands out most. */
export function sheet(part, theme) {
  const p = Math.min(Math.max(part, 0), 1);
  if (theme === "dark") return oklch(0.24 + 0.66 * p, 0.02 + 0.11 * p, 0.72 - 0.42 * p);
  return oklch(0.975 - 0.6 * p, 0.005 + 0.13 * Math.sin(0.8 * Math.PI * p), 0.52 + 0.22 * p);
}

/** A scale for numbers from -1 to 1, zero being nearly the paper: orange below, blue above. */
export function diverging(part, theme) {
  const p = 2 * Math.min(Math.max(part, 0), 1) - 1;
  const size = Math.abs(p);
  const lightness = theme === "dark" ? 0.26 + 0.5 * size : 0.97 - 0.47 * size;
  return oklch(lightness, 0.004 + 0.135 * size, p < 0 ? 0.14 : 0.68);
}

/** A color for a direction in space: hue goes round, lightness goes up. */
export function place(x, y, z, theme) {
  const around = Math.atan2(y, x) / (2 * Math.PI);
  const size = Math.min(Math.hypot(x, y), 1);
  return oklch((theme === "dark" ? 0.72 : 0.6) + 0.17 * Math.min(Math.max(z, -1), 1), 0.03 + 0.11 * size, around + 1.08);
}

/** Colors of all tokens, four bytes each, from a function of the token's number. */
export function painted(count, of) {
  const found = new Uint8Array(4 * count);
  for (let i = 0; i < count; i++) {
    const [r, g, b] = of(i);
    found.set([r, g, b, 255], 4 * i);
  }
  return found;
}
