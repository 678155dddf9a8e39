// Clusters through depth: a line is a cluster, as wide as its mass, and ends where it merges into another.
import { axisOf } from "./depth.js";
import { chooses, depthRules } from "./charts.js";
import { rankColor } from "./colors.js";
import { drawing } from "./elements.js";

const MARGIN = { side: 10, top: 6, bottom: 18 };

export class Tree {
  constructor(times, choose) {
    Object.assign(this, { times });
    this.root = drawing("svg", { role: "img" });
    chooses(this.root, (px) => (px - MARGIN.side) / (this.width - 2 * MARGIN.side), choose);
  }

  draw(tree, log, theme, width, height) {
    Object.assign(this, { width });
    const axis = axisOf(this.times, log);
    this.x = (t) => MARGIN.side + axis(t) * (width - 2 * MARGIN.side);
    const [low, high] = tree.height;
    const y = (v) => MARGIN.top + (height - MARGIN.top - MARGIN.bottom) * (1 - (v - low) / (high - low));
    const heaviest = Math.max(...tree.strokes.map((s) => s[5]));
    const parts = depthRules(this.times, log, this.x, MARGIN.top, height, width);
    const ordered = [...tree.strokes].sort((p, q) => tree.color[p[0]] - tree.color[q[0]] || q[6] - p[6]);
    for (const [branch, t0, v0, t1, v1, mass, step] of ordered) {
      const rank = tree.color[branch];
      const most = step ? 1 : rank < 0 ? 1.2 : 9;
      const line = drawing("line", {
        x1: this.x(t0), y1: y(v0), x2: this.x(t1), y2: y(v1), stroke: rankColor(rank, theme),
        "stroke-width": Math.max(Math.min(9 * mass / heaviest, most), rank < 0 ? 0.6 : 1), "data-branch": branch,
      });
      line.append(drawing("title", {}, `cluster ${branch}: ${tree.size[branch]} tokens when last seen`));
      parts.push(line);
    }
    this.cursor = drawing("line", { class: "cursor", y1: MARGIN.top, y2: height - MARGIN.bottom });
    this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.root.setAttribute("height", height);
    this.root.setAttribute("aria-label", `${tree.clusters[0]} clusters at first, ${tree.clusters.at(-1)} at last`);
    this.root.replaceChildren(...parts, this.cursor);
  }

  at(depth) {
    this.cursor?.setAttribute("x1", this.x(depth));
    this.cursor?.setAttribute("x2", this.x(depth));
  }
}
