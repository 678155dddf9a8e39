// The tokens of a member as points of the picture: four integers each (a processor reads those fastest), and the map from them to [-1, 1].
import { NOWHERE } from "./decode.js";
import { along } from "./depth.js";
import { pixel, seen } from "./camera.js";

/** Half the size and the middle of the picture: a boundary if there is one, else all that is ever reached. */
export function bounds(tokens) {
  const d = tokens.scale.length;
  if (tokens.radius > 0) return { middle: [0, 0, 0].slice(0, d), half: tokens.radius };
  const reach = tokens.scale.map((s) => (s === 1 ? 0 : 32767 * s));
  const half = Math.max(...reach);
  return { middle: tokens.offset, half: half > 0 ? half : 1 };
}

/** Points of a member. On a line depth is drawn to the right, so the picture depends on how depth runs. */
export function geometryOf(tokens, stored, times, log) {
  const d = tokens.scale.length;
  const frames = stored.length / (tokens.count * d);
  const data = new Int16Array(frames * tokens.count * 4);
  const line = tokens.mode === "line";
  const places = line ? along(times, log) : null;
  for (let f = 0, at = 0, from = 0; f < frames; f++) {
    for (let i = 0; i < tokens.count; i++, at += 4, from += d) {
      const gone = stored[from] === NOWHERE;
      if (line) {
        data[at] = gone ? NOWHERE : Math.round(32767 * (2 * places[f] - 1));
        data[at + 1] = stored[from];
      } else {
        for (let k = 0; k < d; k++) data[at + k] = stored[from + k];
      }
      if (gone) data[at] = NOWHERE;
    }
  }
  const { middle, half } = bounds(tokens);
  const scale = line ? [1 / 32767, tokens.scale[0] / half, 0] : [0, 1, 2].map((k) => (k < d ? tokens.scale[k] / half : 0));
  const shift = line
    ? [0, (tokens.offset[0] - middle[0]) / half, 0]
    : [0, 1, 2].map((k) => (k < d ? (tokens.offset[k] - middle[k]) / half : 0));
  return { data, frames, count: tokens.count, scale, shift, hides: tokens.mode === "sphere", turns: d === 3, stretched: line };
}

/** A token in the picture at a position between frames, or null where it is nowhere. */
export function pointAt(geometry, position, token) {
  const f = Math.min(Math.floor(position), geometry.frames - 1);
  const part = position - f;
  const here = 4 * (f * geometry.count + token);
  const next = f + 1 < geometry.frames ? here + 4 * geometry.count : here;
  const { data, scale, shift } = geometry;
  if (data[here] === NOWHERE) return null;
  const there = data[next] === NOWHERE ? here : next;
  return [0, 1, 2].map((k) => (data[here + k] + (data[there + k] - data[here + k]) * part) * scale[k] + shift[k]);
}

/** Pixels of all tokens: x, y, and how far toward the reader; NaN for those that are nowhere. */
export function projected(geometry, position, view, size) {
  const found = new Float32Array(3 * geometry.count).fill(NaN);
  for (let i = 0; i < geometry.count; i++) {
    const point = pointAt(geometry, position, i);
    if (!point) continue;
    const [x, y, z] = seen(view.rows, ...point);
    const [px, py] = pixel(view, size, x, y);
    found[3 * i] = px;
    found[3 * i + 1] = py;
    found[3 * i + 2] = z;
  }
  return found;
}
