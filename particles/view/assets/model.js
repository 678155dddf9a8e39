// The payload, read: members decoded when they are first looked at, and words about them.
import { float32, int16, positionsAt } from "./decode.js";
import { lastBefore } from "./depth.js";
import { shown } from "./scales.js";
import { painted, place, ramp, rankColor, rgb, SETS } from "./colors.js";
import { pointAt } from "./geometry.js";

export class Model {
  constructor(data) {
    this.data = data;
    this.times = data.time.values;
    this.frames = this.times.length;
    this.members = new Map();
  }

  /** The member at a place of the sweep. */
  member(at) {
    const index = this.data.sweep.reduce((sum, dim, k) => sum * dim.values.length + (at[k] ?? 0), 0);
    if (!this.members.has(index)) this.members.set(index, this.read(index));
    return this.members.get(index);
  }

  read(index) {
    const stored = this.data.members[index];
    return {
      ...stored,
      index,
      positions: stored.positions ? int16(stored.positions) : null,
      curves: this.data.observables.map(({ name }) => Array.from(float32(stored.curves[name]))),
      fields: this.data.fields.map(({ name }) => int16(stored.fields[name])),
      tree: stored.tree ? { ...stored.tree, label: int16(stored.tree.label) } : null,
      vectors: stored.vectors ? { ...stored.vectors, data: int16(stored.vectors.data), scale: stored.vectors.scale } : null,
    };
  }

  /** A member in words, such as `β = 4`. */
  title(at) {
    return this.data.sweep.map((dim, k) => `${dim.label} = ${dim.values[at[k] ?? 0]}`).join(", ");
  }

  number(token) {
    return this.data.tokens.numbers ? this.data.tokens.numbers[token] : token;
  }

  positions(member, frame) {
    const { count } = this.data.tokens;
    return positionsAt(member.positions, frame, count, this.data.tokens);
  }

  /** Whole positions: where the picture is a shadow, those of the last frame that has them. */
  vectorsAt(member, frame) {
    if (!member.vectors) return this.positions(member, frame);
    return positionsAt(member.vectors.data, lastBefore(member.vectors.frames, frame), this.data.tokens.count, member.vectors);
  }

  /** The cluster of a token at a frame; -1 if it has none. */
  branch(member, token, frame) {
    if (!member.tree) return -1;
    return member.tree.label[lastBefore(member.tree.frames, frame) * this.data.tokens.count + token];
  }

  species(token) {
    const number = this.number(token);
    return this.data.tokens.species.filter((edge) => edge <= number).length;
  }

  /** The species by the numbers of their tokens. */
  speciesNames() {
    const { species, count } = this.data.tokens;
    const edges = [0, ...species, this.number(count - 1) + 1];
    return edges.slice(1).map((end, k) => `species ${k}: tokens ${edges[k]} to ${end - 1}`);
  }

  fieldAt(member, k, token, frame) {
    const q = member.fields[k][frame * this.data.tokens.count + token];
    return q === -32768 ? NaN : this.data.fields[k].offset[0] + this.data.fields[k].scale[0] * q;
  }

  /** Ways to color, each with its name. */
  colorings() {
    const found = [];
    if (this.data.members.some((member) => member.tree)) found.push(["cluster", "cluster now"], ["ends", "cluster at the end"]);
    if (this.data.tokens?.species.length) found.push(["species", "species"]);
    found.push(["start", "where it began"], ["position", "where it is"]);
    this.data.fields.forEach((field, k) => found.push([`field${k}`, field.label]));
    return found;
  }

  colors(member, geometry, coloring, frame, theme) {
    const count = this.data.tokens.count;
    const last = this.frames - 1;
    if (coloring === "cluster" || coloring === "ends") {
      const ranks = member.tree?.color ?? [];
      return painted(count, (i) => rgb(rankColor(ranks[this.branch(member, i, coloring === "ends" ? last : frame)] ?? -1, theme)));
    }
    if (coloring === "species") return painted(count, (i) => rgb(SETS[theme][this.species(i) % 7]));
    if (coloring.startsWith("field")) {
      const k = Number(coloring.slice(5));
      return painted(count, (i) => ramp(0.5 + member.fields[k][frame * count + i] / 65534, theme));
    }
    const at = coloring === "start" ? 0 : frame;
    return painted(count, (i) => {
      const point = pointAt(geometry, at, i) ?? [0, 0, 0];
      return geometry.stretched ? ramp(0.5 + point[1] / 2, theme) : place(...point, theme);
    });
  }

  tokenWords(member, token, frame) {
    const point = this.positions(member, frame)[token];
    const branch = this.branch(member, token, frame);
    const parts = [`token ${this.number(token)}`];
    if (branch >= 0) parts.push(`cluster ${branch}`);
    if (this.data.tokens.species.length) parts.push(`species ${this.species(token)}`);
    parts.push(point ? `(${point.map((v) => shown(v, 3)).join(", ")})` : "nowhere");
    this.data.fields.forEach((field, k) => parts.push(`${field.label} ${shown(this.fieldAt(member, k, token, frame))}`));
    return parts.join(" · ");
  }

  depthWords(frame) {
    return `${this.data.time.label} ${shown(this.times[frame])}`;
  }
}
