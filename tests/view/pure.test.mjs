// The modules of a page that need no page, tested by node itself.
import assert from "node:assert/strict";
import test from "node:test";
import { readdirSync } from "node:fs";

const home = new URL("../../particles/view/assets/", import.meta.url);
const load = (name) => import(new URL(`${name}.js`, home));
const { int16, positionsAt, NOWHERE } = await load("decode");
const { along, axisOf, interpolated, lastBefore, positionIn } = await load("depth");
const { apart, depthTicks, extent, shown, ticks } = await load("scales");
const { dragged, pixel, rotation, seen, zoomed, STILL } = await load("camera");
const { nearest } = await load("pick");
const { parsed, written } = await load("urlstate");
const { oklch, rankColor, ramp, GRAYS } = await load("colors");
const { geometryOf, pointAt, projected } = await load("geometry");
const { attentionWeights, cosines, distances } = await load("similarity");

const close = (a, b, tolerance = 1e-9) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not ${b}`);
const packed = (numbers) => Buffer.from(new Int16Array(numbers).buffer).toString("base64");

test("integers come back from base64, and positions from integers", () => {
  const data = int16(packed([0, 32767, -32767, NOWHERE, 5, 6]));
  assert.deepEqual([...data], [0, 32767, -32767, -32768, 5, 6]);
  const grid = { offset: [1, 2, 3], scale: [0.5, 0.5, 0.5] };
  assert.deepEqual(positionsAt(data, 0, 2, grid), [[1, 16385.5, -16380.5], null]);
});

test("depth runs from 0 to 1, and logarithmic depth stretches the beginning", () => {
  const times = [0, 1, 2, 4, 8];
  assert.deepEqual(along(times, false), [0, 0.125, 0.25, 0.5, 1]);
  const log = along(times, true);
  assert.equal(log[0], 0);
  close(log[4], 1);
  assert.ok(log[1] > 0.25 && log.every((v, k) => k === 0 || v > log[k - 1]));
  close(axisOf(times, true)(4), log[3]);
  assert.deepEqual(along([3], true), [0]);
});

test("positions between entries go there and back", () => {
  const numbers = [0, 1, 4];
  for (const v of [0, 0.25, 1, 2.5, 4]) close(interpolated(numbers, positionIn(numbers, v)), v);
  assert.equal(positionIn(numbers, -5), 0);
  assert.equal(positionIn(numbers, 9), 2);
  assert.equal(lastBefore([0, 10, 20], 19), 1);
  assert.equal(lastBefore([0, 10, 20], 20), 2);
});

test("numbers are written short, and ticks are round and apart", () => {
  assert.equal(shown(-0.00012345), "−1.23e−4");
  assert.equal(shown(12.34567), "12.35");
  assert.equal(shown(NaN), "–");
  assert.deepEqual(ticks(0, 10, 5), [0, 2, 4, 6, 8, 10]);
  assert.ok(ticks(2.92, 2.99, 3).length >= 2);
  assert.deepEqual(apart([0.99985, 0.9999]), ["0.99985", "0.9999"]);
  assert.deepEqual(depthTicks([0, 0.5, 1, 50], true), [0, 1, 10, 50]);
  const [low, high] = extent([3, 3], [NaN]);
  assert.ok(low < 3 && high > 3);
});

test("a view is a rotation, with the third axis up", () => {
  const rows = rotation(0.7, 0.3);
  for (const [a, b, want] of [[0, 0, 1], [0, 3, 0], [3, 6, 0], [6, 6, 1]]) {
    close(rows[a] * rows[b] + rows[a + 1] * rows[b + 1] + rows[a + 2] * rows[b + 2], want);
  }
  const [x, y] = seen(rows, 0, 0, 1);
  close(x, 0);
  assert.ok(y > 0);
  close(seen(rows, Math.cos(0.7) * Math.cos(0.3), Math.sin(0.7) * Math.cos(0.3), Math.sin(0.3))[2], 1);
});

test("a drag turns in space and shifts on paper, by as much as the hand moves", () => {
  const size = { width: 400, height: 200 };
  const flat = { turns: false, stretched: false, zoom: 1, pan: [0, 0], rows: STILL };
  const moved = { ...flat, ...dragged(flat, size, 30, -12) };
  const [before, after] = [pixel(flat, size, 0.2, 0.1), pixel(moved, size, 0.2, 0.1)];
  close(after[0] - before[0], 30);
  close(after[1] - before[1], -12);
  assert.ok(dragged({ turns: true, yaw: 0, pitch: 1.5 }, size, 0, 1000).pitch <= 1.55);
  assert.equal(zoomed(1, 1e9), 60);
});

test("the nearest token is picked, those on the near side first", () => {
  const places = new Float32Array([10, 10, -1, 13, 10, 1, 90, 90, 1, NaN, NaN, NaN]);
  assert.equal(nearest(places, 10, 10, 8, true), 1);
  assert.equal(nearest(places, 10, 10, 8, false), 0);
  assert.equal(nearest(places, 50, 50, 8, false), -1);
});

test("the state of a view goes into an address and comes back", () => {
  const start = { frame: 0, log: false, theme: "light", color: "cluster", pairs: "cosine", trail: 20, compare: false,
    a: [0, 0], b: [1, 2], pinned: [], yaw: 0.6, pitch: 0.4, zoom: 1, pan: [0, 0], canvas: false };
  assert.equal(written(start, start), "#f=0");
  const state = { ...start, frame: 40, log: true, theme: "dark", color: "field0", compare: true, a: [1, 0], b: [0, 2], pinned: [3, 7], yaw: -1.25 };
  const said = parsed(written(state, start));
  assert.deepEqual(said, { frame: 40, log: true, theme: "dark", color: "field0", compare: true, a: [1, 0], pin: [3, 7], yaw: -1.25, b: [0, 2] });
  assert.deepEqual(parsed("#40"), { frame: 40 });
  assert.deepEqual(parsed("#f=-3&theme=pink&zoom=big&a=1.x&pin=<b>"), {});
  assert.deepEqual(parsed("#canvas"), { canvas: true });
});

test("colors are colors, and those of scales grow lighter", () => {
  assert.deepEqual(oklch(1, 0, 0), [255, 255, 255]);
  assert.deepEqual(oklch(0, 0, 0), [0, 0, 0]);
  const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
  for (const theme of ["light", "dark"]) {
    const steps = Array.from({ length: 11 }, (_, k) => light(ramp(k / 10, theme)));
    assert.ok(steps.every((v, k) => k === 0 || v > steps[k - 1]), theme);
    assert.equal(rankColor(-1, theme), GRAYS[theme]);
  }
});

test("points of the picture are where tokens are; a line has depth to the right", () => {
  const tokens = { count: 2, mode: "plane", radius: 2, offset: [0, 0], scale: [2 / 32767, 2 / 32767] };
  const stored = new Int16Array([32767, 0, NOWHERE, NOWHERE, 0, 32767, 0, 0]);
  const plane = geometryOf(tokens, stored, [0, 1], false);
  assert.deepEqual(pointAt(plane, 0, 0).map((v) => Math.round(v * 1e6) / 1e6), [1, 0, 0]);
  assert.equal(pointAt(plane, 0, 1), null);
  close(pointAt(plane, 0.5, 0)[1], 0.5, 1e-6);
  const places = projected(plane, 1, { rows: STILL, zoom: 1, pan: [0, 0], stretched: false }, { width: 100, height: 100 });
  close(places[0], 50, 1e-4);
  close(places[1], 50 - 43, 1e-3);
  const line = geometryOf({ ...tokens, mode: "line", offset: [0], scale: [1 / 32767] }, new Int16Array([5, 6, 7, 8, 9, 9]), [0, 1, 9], false);
  close(pointAt(line, 0, 0)[0], -1);
  close(pointAt(line, 2, 1)[0], 1);
  close(pointAt(line, 1, 0)[0], 2 / 9 - 1, 1e-4);
});

test("pairs: cosines, distances, and weights whose rows are one", () => {
  const points = [[1, 0], [0, 2], null];
  assert.deepEqual([...cosines(points).slice(0, 2)], [1, 0]);
  close(distances(points)[1], Math.sqrt(5));
  assert.ok(Number.isNaN(distances(points)[2]));
  const w = attentionWeights([[1, 0], [0, 1]], { score: "dot", beta: 2, causal: false });
  close(w[0] + w[1], 1);
  close(w[0] / w[1], Math.exp(2));
  const gauss = attentionWeights([[1, 0], [0, 1]], { score: "distance", beta: 2, causal: false });
  close(gauss[0] / gauss[1], Math.exp(2));
  assert.equal(attentionWeights([[1, 0], [0, 1]], { score: "dot", beta: 2, causal: true })[1], 0);
});

test("every module loads by itself, but the page that needs a page", async () => {
  const names = readdirSync(home).filter((name) => name.endsWith(".js") && name !== "main.js");
  for (const name of names) await import(new URL(name, home));
});
