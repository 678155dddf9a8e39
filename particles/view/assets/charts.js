// Observables against depth: small charts with one cursor.
import { axisOf, interpolated, positionIn } from "./depth.js";
import { drawing, element } from "./elements.js";
import { apart, depthTicks, extent, shown, ticks } from "./scales.js";

const LEFT = 50;
const RIGHT = 8;
const TOP = 6;
const BOTTOM = 18;

/** The depth at a place on an axis, by halving. */
export function depthAt(axis, times, place) {
  let [low, high] = [times[0], times[times.length - 1]];
  for (let k = 0; k < 50; k++) {
    const middle = (low + high) / 2;
    if (axis(middle) < place) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Lets a pointer on a chart choose the depth. */
export function chooses(svg, placeOf, choose) {
  const at = (event) => choose(placeOf(event.clientX - svg.getBoundingClientRect().left));
  svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); at(event); });
  svg.addEventListener("pointermove", (event) => { if (event.buttons) at(event); });
}

/** Rules and numbers of a depth axis. */
export function depthRules(times, log, x, top, height, width) {
  const parts = [];
  let reached = -Infinity;
  for (const t of depthTicks(times, log)) {
    parts.push(drawing("line", { class: "rule", x1: x(t), x2: x(t), y1: top, y2: height - BOTTOM }));
    if (x(t) < reached) continue;
    const anchor = x(t) > width - 16 ? "end" : "middle";
    parts.push(drawing("text", { x: x(t), y: height - 5, "text-anchor": anchor }, shown(t)));
    reached = x(t) + 34;
  }
  return parts;
}

export class Curve {
  constructor(words, times, choose) {
    Object.assign(this, { words, times, choose });
    this.value = element("b");
    this.other = element("b");
    const title = element("span", { textContent: words.unit ? `${words.label} (${words.unit})` : words.label });
    this.svg = drawing("svg", { role: "img", "aria-label": words.label });
    this.root = element("div", { className: "curve" }, element("p", {}, title, element("span", {}, this.value, " ", this.other)), this.svg);
    chooses(this.svg, (px) => (px - LEFT) / (this.width - LEFT - RIGHT), (place) => this.choose(place));
  }

  /** Draws the curves anew: one, or two to be compared. */
  draw(lists, log, width, height) {
    Object.assign(this, { lists, width, height });
    const axis = axisOf(this.times, log);
    const [low, high] = extent(...lists);
    this.x = (t) => LEFT + axis(t) * (width - LEFT - RIGHT);
    this.y = (v) => TOP + (height - TOP - BOTTOM) * (1 - (v - low) / (high - low));
    const parts = depthRules(this.times, log, this.x, TOP, height, width);
    const levels = ticks(low, high, 3);
    const words = apart(levels);
    levels.forEach((v, k) => {
      parts.push(drawing("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: this.y(v), y2: this.y(v) }));
      parts.push(drawing("text", { x: LEFT - 6, y: this.y(v) + 3.5, "text-anchor": "end" }, words[k]));
    });
    lists.forEach((values, k) => parts.push(drawing("path", { class: k ? "curve-b" : "curve-a", d: this.path(values) })));
    this.cursor = drawing("line", { class: "cursor", y1: TOP, y2: height - BOTTOM });
    this.marks = lists.map((_, k) => drawing("circle", { class: k ? "mark mark-b" : "mark", r: 3.5 }));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    this.svg.replaceChildren(...parts, this.cursor, ...this.marks);
  }

  path(values) {
    let text = "";
    let open = false;
    values.forEach((v, k) => {
      const there = Number.isFinite(v);
      if (there) text += `${open ? "L" : "M"}${this.x(this.times[k]).toFixed(1)} ${this.y(v).toFixed(1)}`;
      open = there;
    });
    return text;
  }

  at(depth) {
    const x = this.x(depth);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    const where = positionIn(this.times, depth);
    const values = this.lists.map((list) => interpolated(list, where));
    this.marks.forEach((mark, k) => {
      mark.setAttribute("cx", x);
      mark.setAttribute("cy", Number.isFinite(values[k]) ? this.y(values[k]) : 0);
      mark.setAttribute("visibility", Number.isFinite(values[k]) ? "visible" : "hidden");
    });
    this.value.textContent = shown(values[0]);
    this.other.textContent = values.length > 1 ? shown(values[1]) : "";
  }
}
