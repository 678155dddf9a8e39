// All pairs of tokens at a depth, those that end together side by side.
import { attentionWeights, cosines, distances } from "./similarity.js";
import { diverging, sheet } from "./colors.js";
import { element } from "./elements.js";
import { shown } from "./scales.js";

const TABLE = 256;

export class Matrix {
  constructor(model, chosen) {
    Object.assign(this, { model, chosen });
    this.canvas = element("canvas");
    this.canvas.setAttribute("role", "img");
    this.key = element("p", { className: "key" });
    this.root = element("div", {}, this.canvas, this.key);
    this.canvas.addEventListener("pointermove", (event) => this.under(event));
    this.canvas.addEventListener("pointerleave", () => { this.words(); this.chosen(-1); });
  }

  draw(member, frame, kind, theme) {
    const points = this.model.vectorsAt(member, frame);
    const n = points.length;
    const [values, name, range] = this.measured(kind, points, member);
    const [low, high] = range ?? bound(values);
    Object.assign(this, { member, n, values, name, low, high });
    const scale = low < 0 ? diverging : sheet;
    const table = Array.from({ length: TABLE }, (_, k) => scale(k / (TABLE - 1), theme));
    this.table = table;
    this.canvas.width = this.canvas.height = n;
    const image = new ImageData(n, n);
    const order = member.tree?.order ?? Array.from({ length: n }, (_, k) => k);
    this.order = order;
    for (let r = 0; r < n; r++) {
      for (let c = 0; c < n; c++) {
        const v = values[order[r] * n + order[c]];
        const at = 4 * (r * n + c);
        if (Number.isNaN(v)) continue;
        const step = Math.round((TABLE - 1) * Math.min(Math.max((v - low) / (high - low || 1), 0), 1));
        image.data.set(table[step], at);
        image.data[at + 3] = 255;
      }
    }
    this.canvas.getContext("2d").putImageData(image, 0, 0);
    this.canvas.setAttribute("aria-label", `${name} of ${n} tokens with each other`);
    this.words();
  }

  measured(kind, points, member) {
    if (kind === "attention") {
      return [attentionWeights(points, member.attention), `attention weight, β = ${shown(member.attention.beta)}`, null];
    }
    if (kind === "distance") return [distances(points), "distance", null];
    return [cosines(points), "cosine", [-1, 1]];
  }

  words() {
    const strip = element("canvas", { width: TABLE, height: 1 });
    const image = new ImageData(TABLE, 1);
    this.table.forEach((color, k) => image.data.set([...color, 255], 4 * k));
    strip.getContext("2d").putImageData(image, 0, 0);
    const word = (textContent, className = "") => element("span", { textContent, className });
    this.key.replaceChildren(word(this.name, "name"), word(shown(this.low, 3)), strip, word(shown(this.high, 3)));
  }

  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = (part) => this.order[Math.min(Math.max(Math.floor(part * this.n), 0), this.n - 1)];
    const [i, j] = [place((event.clientY - box.top) / box.height), place((event.clientX - box.left) / box.width)];
    const words = `${this.model.number(i)} and ${this.model.number(j)}`;
    this.key.replaceChildren(element("span", { textContent: `tokens ${words}`, className: "name" }),
      element("span", { textContent: `${this.name}: ${shown(this.values[i * this.n + j])}` }));
    this.chosen(i);
  }
}

/** From zero to the greatest number. */
function bound(values) {
  let high = 0;
  for (const v of values) if (v > high) high = v;
  return [0, high || 1];
}
