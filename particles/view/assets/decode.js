// Numbers from base64: the other half of packing.py.

export const NOWHERE = -32768;

export function bytes(text) {
  const letters = atob(text);
  const found = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k++) found[k] = letters.charCodeAt(k);
  return found.buffer;
}

export const int16 = (text) => new Int16Array(bytes(text));
export const float32 = (text) => new Float32Array(bytes(text));

/** One row of integers as numbers of the record; null for what is nowhere. */
export function decoded(row, grid) {
  return row.includes(NOWHERE) ? null : Array.from(row, (q, k) => grid.offset[k] + grid.scale[k] * q);
}

/** The positions of all tokens at a frame, `[token][coordinate]`, in the units of the record. */
export function positionsAt(data, frame, count, grid) {
  const d = grid.scale.length;
  const start = frame * count * d;
  return Array.from({ length: count }, (_, i) =>
    decoded(Array.from(data.subarray(start + i * d, start + (i + 1) * d)), grid));
}
