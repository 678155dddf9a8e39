// The picture of one member: three canvases on top of each other, and what hands do to them.
import { dragged, fitted, rotation, zoomed, STILL } from "./camera.js";
import { geometryOf, projected } from "./geometry.js";
import { GlRenderer } from "./webgl.js";
import { CanvasRenderer } from "./canvas.js";
import { backdrop, traced } from "./backdrop.js";
import { nearest } from "./pick.js";
import { rgb } from "./colors.js";
import { element, styleOf } from "./elements.js";

/** How large a token is drawn, in pixels. */
export const dotSize = (count, size) =>
  Math.min(Math.max(2.4 + 115 / Math.sqrt(count), 2.6), 14) * Math.min(Math.max(Math.min(size.width, size.height) / 480, 0.7), 1.2);

export class Stage {
  constructor(model, store, side) {
    Object.assign(this, { model, store, side, touches: new Map(), size: { width: 1, height: 1 } });
    this.canvases = [0, 1, 2].map(() => element("canvas"));
    this.tip = element("div", { className: "tip", hidden: true });
    this.scene = element("div", { className: "scene" }, ...this.canvases, this.tip);
    this.canvases[2].setAttribute("role", "img");
    this.root = element("div", { className: "stage" }, this.scene);
    this.inks = [this.canvases[0].getContext("2d"), null, this.canvases[2].getContext("2d")];
    const flat = store.state.canvas || model.data.tokens.count === 0;
    this.renderer = (flat ? null : GlRenderer.on(this.canvases[1], model.data.tokens.count <= 5000)) ?? new CanvasRenderer(this.canvases[1]);
    new ResizeObserver(() => this.resized()).observe(this.scene);
    this.listen(this.canvases[2]);
  }

  resized() {
    this.size = { width: this.scene.clientWidth || 1, height: this.scene.clientHeight || 1 };
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    for (const canvas of this.canvases) {
      canvas.width = Math.round(this.size.width * this.ratio);
      canvas.height = Math.round(this.size.height * this.ratio);
    }
    this.draw();
  }

  /** Takes another member, or another way that depth runs. */
  load(member, log) {
    const key = `${member.index} ${this.model.data.tokens.mode === "line" && log}`;
    if (this.loaded === key) return;
    this.loaded = key;
    this.member = member;
    this.geometry = geometryOf(this.model.data.tokens, member.positions, this.model.times, log);
    this.renderer.load(this.geometry);
  }

  paint(colors) {
    this.colors = colors;
    this.renderer.paint(colors);
  }

  view() {
    const { yaw, pitch, zoom, pan } = this.store.state;
    const { turns, stretched } = this.geometry;
    return { rows: turns ? rotation(yaw, pitch) : STILL, yaw, pitch, zoom, pan, turns, stretched };
  }

  style() {
    const named = (names) => Object.fromEntries(names.map((n) => [n, styleOf(`--${n}`)]));
    const dark = this.store.state.theme === "dark";
    return { ...named(["line", "grid", "faint", "ink", "panel"]),
      lit: dark ? "#232a32" : "#ffffff", shade: dark ? "#14191f" : "#eef0ed", line: dark ? "#3c4550" : "#c9cdc7",
      grid: dark ? "#2d353f" : "#e2e5e0" };
  }

  draw() {
    if (!this.geometry || !this.colors || this.size.width < 2) return;
    const { position, trail, hover, pinned, log } = this.store.state;
    const [view, size, style] = [this.view(), this.size, this.style()];
    const dot = dotSize(this.geometry.count, size);
    for (const k of [0, 2]) {
      this.inks[k].setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      this.inks[k].clearRect(0, 0, size.width, size.height);
    }
    backdrop(this.inks[0], { tokens: this.model.data.tokens, view, size, style, times: this.model.times, log });
    const units = fitted(size.width, size.height, view.zoom, view.stretched);
    const paper = rgb(style.panel.length === 7 ? style.panel : "#ffffff");
    this.renderer.draw({ position, view, units, size, ratio: this.ratio, dot, trail, paper });
    for (const token of new Set([...pinned, hover])) {
      if (token < 0 || token >= this.geometry.count) continue;
      const color = `rgb(${[...this.colors.subarray(4 * token, 4 * token + 3)].join(" ")})`;
      traced(this.inks[2], this.geometry, token, { position, view, size, style, dot, color });
    }
  }

  /** Pixels of all tokens in this scene at a frame. */
  places(position = this.store.state.position) {
    return projected(this.geometry, position, this.view(), this.size);
  }

  under(event) {
    const box = this.scene.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const reach = Math.max(dotSize(this.geometry.count, this.size) * 0.75, event.pointerType === "touch" ? 18 : 8);
    return { x, y, token: nearest(this.places(), x, y, reach, this.geometry.hides) };
  }

  listen(canvas) {
    canvas.addEventListener("pointerdown", (event) => this.pressed(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.released(event));
    canvas.addEventListener("pointerleave", () => this.touches.size || this.hovered(-1));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.store.set({ zoom: zoomed(this.store.state.zoom, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015))) });
    }, { passive: false });
  }

  pressed(event) {
    event.target.setPointerCapture(event.pointerId);
    this.touches.set(event.pointerId, [event.clientX, event.clientY]);
    this.way = 0;
  }

  moved(event) {
    const before = this.touches.get(event.pointerId);
    if (!before) {
      const { x, y, token } = this.under(event);
      return this.hovered(token, x, y);
    }
    const others = [...this.touches].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const now = [event.clientX, event.clientY];
    this.way += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (others.length) {
      const apart = (at) => Math.hypot(at[0] - others[0][0], at[1] - others[0][1]);
      this.store.set({ zoom: zoomed(this.store.state.zoom, apart(now) / Math.max(apart(before), 1)) });
    } else if (this.way > 3) {
      this.store.set(dragged(this.view(), this.size, now[0] - before[0], now[1] - before[1]));
    }
    this.touches.set(event.pointerId, now);
  }

  released(event) {
    const alone = this.touches.size === 1;
    this.touches.delete(event.pointerId);
    if (!alone || this.way > 3 || event.type === "pointercancel") return;
    const { token } = this.under(event);
    const { pinned } = this.store.state;
    if (token < 0) this.store.set({ pinned: [] });
    else this.store.set({ pinned: pinned.includes(token) ? pinned.filter((k) => k !== token) : [...pinned, token].slice(-6) });
  }

  hovered(token, x = 0, y = 0) {
    this.store.set({ hover: token });
    this.tip.hidden = token < 0;
    if (token < 0) return;
    this.tip.textContent = this.model.tokenWords(this.member, token, this.store.state.frame);
    const left = Math.min(x + 14, this.size.width - this.tip.offsetWidth - 4);
    this.tip.style.transform = `translate(${Math.max(left, 2)}px, ${Math.max(y - this.tip.offsetHeight - 10, 2)}px)`;
  }
}
