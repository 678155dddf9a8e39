// What the colors of the tokens stand for.
import { ramp, rankColor, SETS } from "./colors.js";
import { drawing, element } from "./elements.js";
import { shown } from "./scales.js";

function swatch(color, textContent) {
  const dot = drawing("svg", { viewBox: "0 0 10 10", width: 10, height: 10 });
  dot.append(drawing("circle", { cx: 5, cy: 5, r: 5, fill: color }));
  return element("span", {}, dot, element("span", { textContent }));
}

function strip(theme) {
  const made = element("canvas", { width: 140, height: 1 });
  const ink = made.getContext("2d");
  for (let k = 0; k < 140; k++) {
    ink.fillStyle = `rgb(${ramp(k / 139, theme).join(" ")})`;
    ink.fillRect(k, 0, 1, 1);
  }
  return made;
}

/** The clusters of a member with their sizes, those with a color of their own one by one. */
function clusterKey(model, state, member) {
  const frame = state.color === "ends" ? model.frames - 1 : state.frame;
  const sizes = new Map();
  for (let i = 0; i < model.data.tokens.count; i++) {
    const branch = model.branch(member, i, frame);
    if (branch >= 0) sizes.set(branch, (sizes.get(branch) ?? 0) + 1);
  }
  const rank = (branch) => member.tree.color[branch];
  const colored = [...sizes].filter(([branch]) => rank(branch) >= 0).sort((p, q) => rank(p[0]) - rank(q[0]));
  const rest = [...sizes].filter(([branch]) => rank(branch) < 0).reduce((sum, [, size]) => sum + size, 0);
  const others = sizes.size - colored.length;
  const title = `${sizes.size} ${sizes.size === 1 ? "cluster" : "clusters"}${state.color === "ends" ? " at the end" : ""}`;
  const parts = colored.map(([branch, size]) => swatch(rankColor(rank(branch), state.theme), String(size)));
  if (rest) parts.push(swatch(rankColor(-1, state.theme), `${rest} in ${others} ${others === 1 ? "other" : "others"}`));
  return element("div", {}, element("span", { textContent: title }), ...parts);
}

/** The parts of the legend for the members that are shown. */
export function legendOf(model, state, members) {
  const { color, theme } = state;
  if (color === "species") return model.speciesNames().map((name, k) => swatch(SETS[theme][k % 7], name));
  if (color === "cluster" || color === "ends") {
    return members.filter((member) => member.tree).map((member) => clusterKey(model, state, member));
  }
  if (!color.startsWith("field")) return [];
  const field = model.data.fields[Number(color.slice(5))];
  const reach = field.scale[0] === 1 ? 0 : 32767 * field.scale[0];
  const end = (value) => element("span", { textContent: shown(value, 3) });
  return [end(field.offset[0] - reach), strip(theme), end(field.offset[0] + reach)];
}
