// What is drawn behind the tokens, by the kind of picture, and in front of them: the paths of those that are chosen.
import { pixel, seen, fitted } from "./camera.js";
import { pointAt } from "./geometry.js";
import { depthTicks, shown, ticks } from "./scales.js";
import { along, interpolated, positionIn } from "./depth.js";
import { bounds } from "./geometry.js";

/** A polyline through points of the picture; `keep` says which of its pieces are drawn. */
function polyline(ink, points, view, size, keep) {
  ink.beginPath();
  let open = false;
  for (const point of points) {
    const [x, y, z] = point ? seen(view.rows, ...point) : [NaN, NaN, NaN];
    if (!point || !keep(z)) { open = false; continue; }
    const at = pixel(view, size, x, y);
    if (open) ink.lineTo(...at);
    else ink.moveTo(...at);
    open = true;
  }
  ink.stroke();
}

function graticule() {
  const lines = [];
  const around = Array.from({ length: 73 }, (_, k) => k * Math.PI / 36);
  for (const b of [-60, -30, 0, 30, 60]) {
    const [h, r] = [Math.sin(b * Math.PI / 180), Math.cos(b * Math.PI / 180)];
    lines.push(around.map((a) => [r * Math.cos(a), r * Math.sin(a), h]));
  }
  for (let a = 0; a < 180; a += 30) {
    const [c, s] = [Math.cos(a * Math.PI / 180), Math.sin(a * Math.PI / 180)];
    lines.push(around.map((b) => [Math.cos(b) * c, Math.cos(b) * s, Math.sin(b)]));
  }
  return lines;
}

const LINES = graticule();

function globe(ink, view, size, style) {
  const [unit] = fitted(size.width, size.height, view.zoom, false);
  const [cx, cy] = pixel(view, size, 0, 0);
  const light = ink.createRadialGradient(cx - unit * 0.35, cy - unit * 0.4, unit * 0.1, cx, cy, unit);
  light.addColorStop(0, style.lit);
  light.addColorStop(1, style.shade);
  ink.fillStyle = light;
  ink.beginPath();
  ink.arc(cx, cy, unit, 0, 2 * Math.PI);
  ink.fill();
  ink.lineWidth = 0.8;
  ink.strokeStyle = style.grid;
  for (const line of LINES) polyline(ink, line, view, size, (z) => z >= 0);
  ink.strokeStyle = style.line;
  ink.lineWidth = 1.2;
  ink.beginPath();
  ink.arc(cx, cy, unit, 0, 2 * Math.PI);
  ink.stroke();
}

function ring(ink, view, size, style) {
  const [unit] = fitted(size.width, size.height, view.zoom, false);
  ink.strokeStyle = style.line;
  ink.lineWidth = 1.2;
  ink.beginPath();
  ink.arc(...pixel(view, size, 0, 0), unit, 0, 2 * Math.PI);
  ink.stroke();
}

function compass(ink, view, size, style, labels) {
  const [cx, cy, long] = [40, size.height - 36, 22];
  ink.strokeStyle = ink.fillStyle = style.faint;
  ink.lineWidth = 1.2;
  ink.font = "12px system-ui, sans-serif";
  ink.textAlign = "center";
  ink.textBaseline = "middle";
  const taken = [];
  [[1, 0, 0], [0, 1, 0], [0, 0, 1]].forEach((axis, k) => {
    const [x, y] = seen(view.rows, ...axis);
    ink.beginPath();
    ink.moveTo(cx, cy);
    ink.lineTo(cx + long * x, cy - long * y);
    ink.stroke();
    const at = [cx + (long + 11) * x, cy - (long + 11) * y];
    if (Math.hypot(x, y) < 0.3 || taken.some((other) => Math.hypot(other[0] - at[0], other[1] - at[1]) < 15)) return;
    ink.fillText(labels[k], ...at);
    taken.push(at);
  });
}

function box(ink, view, size, style) {
  ink.strokeStyle = style.grid;
  ink.lineWidth = 1;
  for (const a of [-1, 1]) for (const b of [-1, 1]) {
    polyline(ink, [[-1, a, b], [1, a, b]], view, size, () => true);
    polyline(ink, [[a, -1, b], [a, 1, b]], view, size, () => true);
    polyline(ink, [[a, b, -1], [a, b, 1]], view, size, () => true);
  }
}

/** Rules and numbers of a flat picture; on a line depth goes to the right. */
function paperGrid(ink, view, size, style, tokens, times, log) {
  const { middle, half } = bounds(tokens);
  const line = tokens.mode === "line";
  const [ux, uy] = fitted(size.width, size.height, view.zoom, line);
  const visible = (k, unit, span) => [-1, 1].map((s) => s * span / 2 / unit - view.pan[k]);
  ink.font = "11px system-ui, sans-serif";
  ink.lineWidth = 1;
  const rule = (x1, y1, x2, y2) => { ink.beginPath(); ink.moveTo(x1, y1); ink.lineTo(x2, y2); ink.stroke(); };
  const [left, right] = visible(0, ux, size.width);
  const [low, high] = visible(1, uy, size.height);
  const up = line ? 0 : 1;
  ink.strokeStyle = style.grid;
  ink.fillStyle = style.faint;
  ink.textAlign = "left";
  ink.textBaseline = "bottom";
  for (const v of ticks(low * half + middle[up], high * half + middle[up], 6)) {
    const y = pixel(view, size, 0, (v - middle[up]) / half)[1];
    if (y < 14 || y > size.height - 26) continue;
    rule(0, y, size.width, y);
    ink.fillText(shown(v), 4, y - 2);
  }
  ink.textAlign = "center";
  const places = line ? along(times, log) : null;
  const across = line
    ? depthTicks(times, log).map((t) => [t, 2 * interpolated(places, positionIn(times, t)) - 1])
    : ticks(left * half + middle[0], right * half + middle[0], 6).map((v) => [v, (v - middle[0]) / half]);
  let reached = 30;
  for (const [v, at] of across) {
    const x = pixel(view, size, at, 0)[0];
    if (x < reached || x > size.width - 12) continue;
    rule(x, 0, x, size.height - 18);
    ink.fillText(shown(v), x, size.height - 3);
    reached = x + 30;
  }
}

export function backdrop(ink, { tokens, view, size, style, times, log }) {
  const mode = tokens.mode;
  if (mode === "sphere") globe(ink, view, size, style);
  if (mode === "plane" || mode === "line") paperGrid(ink, view, size, style, tokens, times, log);
  if (mode === "space" && !tokens.radius) box(ink, view, size, style);
  if (tokens.radius && mode !== "sphere" && mode !== "line") ring(ink, view, size, style);
  if (tokens.scale.length === 3) compass(ink, view, size, style, mode === "principal" ? ["1", "2", "3"] : tokens.labels);
}

/** The whole path of a token, what is past full and what is to come dashed, and a ring where it is. */
export function traced(ink, geometry, token, { position, view, size, style, dot, color }) {
  const past = [];
  const future = [];
  for (let f = 0; f < geometry.frames; f++) (f <= position ? past : future).push(pointAt(geometry, f, token));
  const now = pointAt(geometry, position, token);
  past.push(now);
  future.unshift(now);
  ink.lineJoin = "round";
  for (const [points, dash, alpha] of [[future, [2, 4], 0.55], [past, [], 0.9]]) {
    ink.setLineDash(dash);
    ink.strokeStyle = style.ink;
    ink.lineWidth = 1.6;
    ink.globalAlpha = geometry.hides ? 0.18 : alpha;
    if (geometry.hides) polyline(ink, points, view, size, (z) => z < 0);
    ink.globalAlpha = alpha;
    polyline(ink, points, view, size, (z) => !geometry.hides || z >= 0);
  }
  ink.setLineDash([]);
  ink.globalAlpha = 1;
  if (!now) return null;
  const [x, y] = seen(view.rows, ...now);
  const at = pixel(view, size, x, y);
  ink.fillStyle = color;
  ink.strokeStyle = style.ink;
  ink.lineWidth = 2;
  ink.beginPath();
  ink.arc(...at, Math.max(dot / 2 + 1.5, 4), 0, 2 * Math.PI);
  ink.fill();
  ink.stroke();
  return at;
}
