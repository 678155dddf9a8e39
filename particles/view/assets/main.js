// The page: reads the payload, builds the panels, and keeps them in step with what is looked at.
import { along } from "./depth.js";
import { byId, choices, element } from "./elements.js";
import { Store } from "./store.js";
import { Model } from "./model.js";
import { legendOf } from "./legend.js";
import { Stage } from "./stage.js";
import { Curve, depthAt } from "./charts.js";
import { Tree } from "./tree.js";
import { Matrix } from "./matrix.js";
import { bindControls, memberSliders, placeAt, Player } from "./controls.js";
import { parsed, written } from "./urlstate.js";
import { shown } from "./scales.js";
import { axisOf } from "./depth.js";

const PAIRS = 512;
const MANY = 20000;

class Page {
  constructor(data) {
    this.model = new Model(data);
    this.data = data;
    this.model.trails = trailsOf(data, this.model.frames);
    const start = this.start();
    this.initial = { ...start };
    this.store = new Store(start);
    this.store.home = { yaw: start.yaw, pitch: start.pitch, zoom: 1, pan: start.pan };
    this.player = new Player(this.store, this.model);
    this.adopt(parsed(location.hash));
    this.words();
    this.build();
    bindControls(this.store, this.model, this.player);
    this.store.listen((state, keys) => this.update(state, keys));
    window.addEventListener("hashchange", () => { if (location.hash !== this.hash) this.adopt(parsed(location.hash), true); });
    this.store.tell(new Set(["all"]));
  }

  start() {
    const { data } = this;
    const sizes = data.sweep.map((dim) => dim.values.length);
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    return {
      position: 0, frame: 0, playing: false, log: false, theme: dark ? "dark" : "light", compare: false, hover: -1, pinned: [],
      color: data.tokens ? this.model.colorings()[0][0] : "", trail: Number(this.model.trails[defaultTrail(data, this.model.trails)][0]),
      pairs: data.members.some((member) => member.attention) ? "attention" : "cosine",
      a: sizes.map(() => 0), b: sizes.map((size) => size - 1), canvas: false,
      yaw: data.tokens?.toward?.[0] ?? 0.6, pitch: data.tokens?.toward?.[1] ?? 0.4, zoom: 1, pan: [0, 0],
    };
  }

  /** Takes over what a fragment says, as far as it makes sense here. */
  adopt(said, later = false) {
    const { data, model } = this;
    const base = later ? { ...this.initial, theme: this.store.state.theme } : this.store.state;
    const inSweep = (at) => at.length === data.sweep.length && at.every((k, i) => k < data.sweep[i].values.length);
    const patch = { ...base, playing: false, position: Math.min(said.frame ?? 0, Math.max(model.frames - 1, 0)) };
    for (const key of ["log", "theme", "compare", "yaw", "pitch", "zoom"]) if (said[key] !== undefined) patch[key] = said[key];
    if (data.members.length < 2) patch.compare = false;
    if (data.tokens && model.colorings().some(([value]) => value === said.color)) patch.color = said.color;
    if (model.trails.some(([value]) => Number(value) === said.trail)) patch.trail = said.trail;
    if (["cosine", "distance", "attention"].includes(said.pairs)) patch.pairs = said.pairs;
    for (const side of ["a", "b"]) if (said[side] && inSweep(said[side])) patch[side] = said[side];
    patch.pinned = (said.pin ?? []).filter((k) => k < (data.tokens?.count ?? 0));
    patch.pan = [said.x ?? 0, said.y ?? 0];
    patch.frame = Math.round(patch.position);
    if (said.canvas) patch.canvas = true;
    if (later) this.store.set(patch);
    else Object.assign(this.store.state, patch);
  }

  /** What does not change. */
  words() {
    const { data } = this;
    byId("name").textContent = data.name;
    byId("about").textContent = data.summary[0] ?? "";
    const word = { running: "This run is still under way.", new: "This run has just begun.", failed: "This run failed.",
      interrupted: "This run was interrupted before its end." }[data.status];
    if (word) {
      byId("alert").textContent = `${word} What is shown is what was committed.`;
      byId("alert").hidden = false;
    }
    byId("notes").replaceChildren(...data.notes.map((textContent) => element("li", { textContent })));
  }

  build() {
    const { data, model, store } = this;
    const choose = (axis) => (place) => {
      const depth = depthAt(axis(), this.model.times, place);
      const places = along(model.times, store.state.log);
      let best = 0;
      const wanted = axisOf(model.times, store.state.log)(depth);
      places.forEach((p, k) => { if (Math.abs(p - wanted) < Math.abs(places[best] - wanted)) best = k; });
      store.set({ position: best, playing: false });
    };
    const axisHere = () => axisOf(data.curve.length ? data.curve : model.times, store.state.log);
    this.stages = data.tokens ? ["a", "b"].map((side) => this.stage(side)) : [];
    if (!data.tokens) byId("stages").append(empty("This run stored no tokens. Set `plan.tokens = true` in its config to see them."));
    for (const id of data.tokens ? [] : ["color", "trail"]) byId(id).parentElement.hidden = true;
    byId("reset").hidden = !data.tokens;
    byId("compare").hidden = data.members.length < 2;
    this.curves = data.observables.map((words) => new Curve(words, data.curve, choose(axisHere)));
    byId("curves").append(...(this.curves.length ? this.curves.map((c) => c.root) : [empty("This run watched no observables through depth.")]));
    this.trees = ["a", "b"].map(() => new Tree(model.times, choose(() => axisOf(model.times, store.state.log))));
    const pairs = data.tokens && data.tokens.count <= PAIRS && data.tokens.count > 1;
    this.matrices = pairs ? ["a", "b"].map(() => new Matrix(model, (token) => store.set({ hover: token }))) : [];
    this.pair = element("div", { className: "pair" }, ...this.matrices.map((m) => m.root));
    byId("matrix").append(pairs ? this.pair : empty(pairWords(data)));
    byId("pairs").parentElement.hidden = !pairs;
    const kinds = [["cosine", "cosine"], ["distance", "distance"]];
    if (data.members.some((member) => member.attention)) kinds.unshift(["attention", "attention"]);
    choices(byId("pairs"), kinds, store.state.pairs);
    for (const id of ["curves", "tree"]) new ResizeObserver(() => store.set({ width: document.body.clientWidth + byId(id).clientWidth / 1e4 })).observe(byId(id));
    document.querySelector(".bar").hidden = model.frames < 2;
  }

  stage(side) {
    const made = new Stage(this.model, this.store, side);
    const sliders = memberSliders(this.model, side, this.store);
    if (sliders) made.root.prepend(sliders);
    byId("stages").append(made.root);
    return made;
  }

  shownSides() {
    return this.store.state.compare ? ["a", "b"] : ["a"];
  }

  update(state, keys) {
    const any = (...names) => keys.has("all") || names.some((name) => keys.has(name));
    state.frame = Math.round(state.position);
    document.documentElement.dataset.theme = state.theme;
    document.body.dataset.frame = state.frame;
    const members = this.shownSides().map((side) => this.model.member(state[side]));
    const depth = this.model.times.length ? depthOf(this.model.times, state.position) : 0;
    if (any("log", "theme", "compare", "a", "b", "width")) this.panels(state, members);
    if (this.stages.length) this.scenes(state, members, any);
    if (this.model.times.length) this.curves.forEach((curve) => curve.at(depth));
    this.trees.forEach((tree) => tree.at(depth));
    if (this.matrices.length && any("position", "pairs", "theme", "compare", "a", "b")) this.drawPairs(state, members);
    this.bar(state, any);
    if (this.stages.length && any("position", "color", "theme", "a", "b", "compare")) byId("legend").replaceChildren(...legendOf(this.model, state, members));
    if (any("a", "b", "compare")) this.story(state, members);
    this.remember(state);
  }

  panels(state, members) {
    const width = byId("curves").clientWidth || 300;
    const beside = innerWidth > 860 ? Math.min(Math.max(0.6 * innerHeight, 320), 600) + 56 : 480;
    const height = Math.min(Math.max(Math.floor(beside / Math.max(this.curves.length, 1)) - 30, 74), 190);
    this.curves.forEach((curve, k) => curve.draw(members.map((member) => member.curves[k]), state.log, width, height));
    const [tall, room] = [(innerWidth > 860 ? 430 : 260) / members.length, byId("tree").clientWidth || 300];
    const some = members.some((member) => member.tree);
    byId("tree").replaceChildren(...(some ? members.map((member, k) => (member.tree ? this.trees[k].root : empty("no clusters"))) : [empty(treeWords(this.data))]));
    this.trees.forEach((tree) => { tree.cursor = null; });
    members.forEach((member, k) => { if (member.tree) this.trees[k].draw(member.tree, state.log, state.theme, room, tall); });
    byId("compare").setAttribute("aria-pressed", state.compare);
    byId("log").setAttribute("aria-pressed", state.log);
    byId("theme").textContent = state.theme === "dark" ? "Light" : "Dark";
  }

  scenes(state, members, any) {
    this.stages[1].root.hidden = !state.compare;
    members.forEach((member, k) => {
      const stage = this.stages[k];
      stage.load(member, state.log);
      if (any("color", "theme", "a", "b", "compare", "log") || (any("position") && !["ends", "species", "start"].includes(state.color))) {
        stage.paint(this.model.colors(member, stage.geometry, state.color, state.frame, state.theme));
      }
      const words = `${member.index ? this.model.title(state[stage.side]) : ""} ${this.data.tokens.count} tokens at ${this.model.depthWords(state.frame)}`;
      stage.canvases[2].setAttribute("aria-label", words.trim());
      stage.draw();
    });
    byId("color").value = state.color;
    byId("trail").value = String(state.trail);
    const chosen = [...new Set([...state.pinned, state.hover])].filter((k) => k >= 0);
    byId("chosen").textContent = chosen.map((k) => this.model.tokenWords(members[0], k, state.frame)).join("\n") || "Drag to turn, wheel or pinch to zoom, point at a token for its path, click to keep it.";
  }

  drawPairs(state, members) {
    this.matrices.forEach((matrix, k) => { matrix.root.hidden = k >= members.length; });
    members.forEach((member, k) => {
      const kind = state.pairs === "attention" && !member.attention ? "cosine" : state.pairs;
      this.matrices[k].draw(member, state.frame, kind, state.theme);
    });
    byId("pairs").value = state.pairs;
  }

  bar(state, any) {
    if (this.model.frames < 2) return;
    const slider = byId("depth");
    slider.value = placeAt(along(this.model.times, state.log), state.position);
    const words = this.model.depthWords(state.frame);
    slider.setAttribute("aria-valuetext", `${words}, frame ${state.frame} of ${this.model.frames - 1}`);
    byId("where").replaceChildren(`${this.data.time.label} `, element("b", { textContent: shown(this.model.times[state.frame]) }),
      ` · frame ${state.frame} of ${this.model.frames - 1}`);
    byId("play").classList.toggle("on", state.playing);
    byId("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
    if (any("position")) this.announce(state, words);
  }

  /** Tells a screen reader where we are, once things rest. */
  announce(state, words) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      const member = this.model.member(state.a);
      const count = member.tree ? clustersAt(member.tree, state.frame) : null;
      byId("live").textContent = count === null ? words : `${words}: ${count} ${count === 1 ? "cluster" : "clusters"}`;
    }, state.playing ? 1500 : 300);
  }

  story(state, members) {
    const parts = members.map((member, k) => {
      const title = this.model.title(state[this.shownSides()[k]]);
      const words = member.summary.map((textContent) => element("p", { textContent }));
      return element("div", {}, ...(title ? [element("h3", { textContent: title })] : []), ...words);
    });
    byId("story").replaceChildren(...parts);
  }

  /** Puts the state into the address. */
  remember(state) {
    clearTimeout(this.later);
    const put = () => {
      this.hash = written(state, this.initial);
      history.replaceState(null, "", this.hash);
    };
    if (location.protocol !== "about:" && !state.playing) this.later = setTimeout(put, 150);
  }

  /** For tests: what is shown, in numbers. */
  positions(frame, side = 0) {
    const stage = this.stages[side];
    const box = stage.scene.getBoundingClientRect();
    const places = stage.places(frame);
    const screen = Array.from({ length: stage.geometry.count }, (_, i) => [box.left + places[3 * i], box.top + places[3 * i + 1], places[3 * i + 2]]);
    return { data: this.model.positions(stage.member, frame), screen, colors: Array.from(stage.colors) };
  }
}

const empty = (textContent) => element("p", { className: "empty", textContent });

const depthOf = (times, position) => {
  const k = Math.floor(position);
  return times[k] + ((times[k + 1] ?? times[k]) - times[k]) * (position - k);
};

const clustersAt = (tree, frame) => tree.clusters[Math.max(tree.frames.filter((f) => f <= frame).length - 1, 0)];

/** Trails by the number of frames they go back, as far as they can be drawn at once. */
function trailsOf(data, frames) {
  const most = data.tokens ? Math.floor(6e5 / Math.max(data.tokens.count, 1)) : 0;
  const wanted = [["0", "none"], ["5", "short"], ["20", "long"], ["100000", "whole path"]];
  return wanted.filter(([length]) => Math.min(Number(length), frames) <= most || length === "0");
}

/** Which of the trails is shown at first: on a line all of it, elsewhere a long one, of very many tokens none. */
function defaultTrail(data, trails) {
  if (data.tokens?.count > MANY) return 0;
  return data.tokens?.mode === "line" ? trails.length - 1 : Math.min(2, trails.length - 1);
}

function pairWords(data) {
  if (!data.tokens) return "Without tokens there are no pairs.";
  if (data.tokens.count < 2) return "One token has nobody to compare with.";
  return `All pairs are shown of at most ${PAIRS} tokens; there are ${data.tokens.count}.`;
}

function treeWords(data) {
  if (!data.tokens) return "Without tokens there are no clusters.";
  if (data.time.values.length < 2) return "One frame has no history.";
  if (data.tokens.count < 2) return "One token is one cluster.";
  return "Clusters are not told apart here; the notes say why.";
}

const page = new Page(JSON.parse(byId("data").textContent));
window.particlesView = {
  positions: (frame, side) => page.positions(frame, side),
  state: () => ({ ...page.store.state, renderer: page.stages[0]?.renderer.kind ?? null }),
  set: (patch) => page.store.set(patch),
};
document.body.dataset.ready = "yes";
