// From where tokens are looked at: a rotation, a zoom, a shift. Everything is seen from far away.

export const STILL = [1, 0, 0, 0, 1, 0, 0, 0, 1];

/** The rows right, up and toward the reader, for a view from an azimuth and a height, the third axis up. */
export function rotation(yaw, pitch) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return [-sy, cy, 0, -sp * cy, -sp * sy, cp, cp * cy, cp * sy, sp];
}

/** A point seen: to the right, up, and toward the reader. */
export function seen(rows, x, y, z) {
  return [
    rows[0] * x + rows[1] * y + rows[2] * z,
    rows[3] * x + rows[4] * y + rows[5] * z,
    rows[6] * x + rows[7] * y + rows[8] * z,
  ];
}

/** Pixels for one unit, in both directions; a stretched picture fills its frame. */
export function fitted(width, height, zoom, stretched) {
  const [w, h] = [width / 2 * 0.86 * zoom, height / 2 * 0.86 * zoom];
  return stretched ? [w, h] : [Math.min(w, h), Math.min(w, h)];
}

/** The pixel of a point that is seen. */
export function pixel(view, size, x, y) {
  const [ux, uy] = fitted(size.width, size.height, view.zoom, view.stretched);
  return [size.width / 2 + (x + view.pan[0]) * ux, size.height / 2 - (y + view.pan[1]) * uy];
}

/** The view after a drag by some pixels: turned in space, shifted on paper. */
export function dragged(view, size, dx, dy) {
  if (view.turns) {
    const pitch = Math.min(Math.max(view.pitch + dy * 0.008, -1.55), 1.55);
    return { yaw: view.yaw - dx * 0.008, pitch };
  }
  const [ux, uy] = fitted(size.width, size.height, view.zoom, view.stretched);
  return { pan: [view.pan[0] + dx / ux, view.pan[1] - dy / uy] };
}

/** The zoom after a turn of the wheel or a pinch. */
export const zoomed = (zoom, factor) => Math.min(Math.max(zoom * factor, 0.4), 60);
