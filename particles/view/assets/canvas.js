// Tokens and their trails where there is no WebGL: the same picture on a plain canvas, up to some ten thousand tokens.
import { projected } from "./geometry.js";

/** More tokens than these are drawn without trails, pixel by pixel. */
const DUST = 8000;

export class CanvasRenderer {
  constructor(canvas) {
    this.kind = "canvas";
    [this.canvas, this.ink] = [canvas, canvas.getContext("2d")];
  }

  load(geometry) {
    this.geometry = geometry;
  }

  paint(colors) {
    this.colors = colors;
    this.groups = null;
    if (colors.length / 4 > DUST) return;
    const groups = new Map();
    for (let i = 0; i < colors.length / 4; i++) {
      const key = `rgb(${colors[4 * i]} ${colors[4 * i + 1]} ${colors[4 * i + 2]})`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(i);
    }
    this.groups = groups;
  }

  draw({ position, view, size, ratio, dot, trail }) {
    const { ink, geometry } = this;
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.clearRect(0, 0, size.width, size.height);
    if (!this.groups) return this.dust(position, view, size, ratio);
    this.trail(position, view, size, dot, trail);
    const now = projected(geometry, position, view, size);
    const sides = geometry.hides ? [false, true] : [true];
    for (const front of sides) {
      ink.globalAlpha = front ? 1 : 0.2;
      const r = (front ? 1 : 0.72) * dot / 2;
      for (const [color, tokens] of this.groups) {
        ink.fillStyle = color;
        ink.beginPath();
        for (const i of tokens) {
          if (geometry.hides && now[3 * i + 2] >= 0 !== front) continue;
          if (Number.isNaN(now[3 * i])) continue;
          ink.moveTo(now[3 * i] + r, now[3 * i + 1]);
          if (r < 2) ink.rect(now[3 * i] - r, now[3 * i + 1] - r, 2 * r, 2 * r);
          else ink.arc(now[3 * i], now[3 * i + 1], r, 0, 2 * Math.PI);
        }
        ink.fill();
      }
    }
    ink.globalAlpha = 1;
  }

  /** Very many tokens as squares of a few pixels, those behind first. */
  dust(position, view, size, ratio) {
    const { ink, geometry, colors } = this;
    const now = projected(geometry, position, view, size);
    const [width, height] = [this.canvas.width, this.canvas.height];
    const image = ink.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const tints = new Uint32Array(colors.buffer);
    const side = Math.max(Math.round(2 * ratio), 2);
    for (const front of geometry.hides ? [false, true] : [true]) {
      for (let i = 0; i < geometry.count; i++) {
        if (Number.isNaN(now[3 * i]) || (geometry.hides && now[3 * i + 2] >= 0 !== front)) continue;
        const [x, y] = [Math.round(now[3 * i] * ratio - side / 2), Math.round(now[3 * i + 1] * ratio - side / 2)];
        if (x < 0 || y < 0 || x + side > width || y + side > height) continue;
        const tint = front ? tints[i] : (tints[i] & 0xffffff) | 0x33000000;
        for (let r = 0; r < side; r++) pixels.fill(tint, (y + r) * width + x, (y + r) * width + x + side);
      }
    }
    ink.putImageData(image, 0, 0);
  }

  trail(position, view, size, dot, trail) {
    const { ink, geometry } = this;
    const first = Math.max(0, Math.floor(position) - trail);
    if (trail < 1 || position <= first) return;
    const stops = Array.from({ length: Math.ceil(position) - first + 1 }, (_, k) => Math.min(first + k, position));
    const rows = stops.map((stop) => projected(geometry, stop, view, size));
    ink.lineWidth = Math.max(0.16 * dot, 1.1);
    for (let k = 1; k < rows.length; k++) {
      ink.globalAlpha = 0.08 + 0.47 * (1 - (position - stops[k - 1]) / (trail + 1)) ** 1.3;
      for (const [color, tokens] of this.groups) {
        ink.strokeStyle = color;
        ink.beginPath();
        for (const i of tokens) {
          if (geometry.hides && rows[k][3 * i + 2] < 0) continue;
          if (Number.isNaN(rows[k][3 * i])) continue;
          ink.moveTo(rows[k - 1][3 * i], rows[k - 1][3 * i + 1]);
          ink.lineTo(rows[k][3 * i], rows[k][3 * i + 1]);
        }
        ink.stroke();
      }
    }
    ink.globalAlpha = 1;
  }
}
