// Buttons, sliders and keys: everything that changes what is looked at.
import { along, positionIn } from "./depth.js";
import { byId, choices, element } from "./elements.js";
import { zoomed } from "./camera.js";

const SECONDS = 14;

/** Moves depth along its axis while it plays. */
export class Player {
  constructor(store, model) {
    Object.assign(this, { store, model, before: 0 });
  }

  toggle() {
    const { playing, position } = this.store.state;
    const end = this.model.frames - 1;
    if (end < 1) return;
    this.store.set(playing ? { playing: false } : { playing: true, position: position >= end ? 0 : position });
    if (!playing) requestAnimationFrame((now) => { this.before = now; this.step(now); });
  }

  step(now) {
    const { playing, position, log } = this.store.state;
    if (!playing) return;
    const places = along(this.model.times, log);
    const from = placeAt(places, position);
    const place = Math.min(from + Math.min(now - this.before, 100) / 1000 / SECONDS, 1);
    this.before = now;
    this.store.set({ position: positionIn(places, place), ...(place >= 1 ? { playing: false } : {}) });
    requestAnimationFrame((next) => this.step(next));
  }
}

/** The place on the slider of a position between frames. */
export function placeAt(places, position) {
  const k = Math.floor(position);
  return places[k] + ((places[k + 1] ?? places[k]) - places[k]) * (position - k);
}

/** A slider for each swept parameter. */
export function memberSliders(model, side, store) {
  if (!model.data.sweep.length) return null;
  const root = element("div", { className: "member" });
  model.data.sweep.forEach((dim, k) => {
    const id = `sweep-${side}-${k}`;
    const slider = element("input", { type: "range", id, min: 0, max: dim.values.length - 1, step: 1 });
    const output = element("output", { htmlFor: id });
    slider.addEventListener("input", () => {
      const at = [...store.state[side]];
      at[k] = Number(slider.value);
      store.set({ [side]: at });
    });
    const show = () => {
      slider.value = store.state[side][k];
      output.textContent = dim.values[store.state[side][k]];
      slider.setAttribute("aria-valuetext", output.textContent);
    };
    store.listen((_, keys) => { if (keys.has(side) || keys.has("all")) show(); });
    show();
    root.append(element("label", { htmlFor: id, textContent: dim.label }), slider, output);
  });
  return root;
}

export function bindControls(store, model, player) {
  const click = (id, act) => byId(id).addEventListener("click", act);
  const { state } = store;
  click("play", () => player.toggle());
  click("log", () => store.set({ log: !state.log }));
  click("theme", () => store.set({ theme: state.theme === "dark" ? "light" : "dark" }));
  click("compare", () => store.set({ compare: !state.compare }));
  click("reset", () => store.set(store.home));
  byId("depth").addEventListener("input", (event) => {
    const places = along(model.times, state.log);
    store.set({ position: Math.round(positionIn(places, Number(event.target.value))), playing: false });
  });
  if (model.data.tokens) {
    choices(byId("color"), model.colorings(), state.color);
    choices(byId("trail"), model.trails, String(state.trail));
    byId("color").addEventListener("change", (event) => store.set({ color: event.target.value }));
    byId("trail").addEventListener("change", (event) => store.set({ trail: Number(event.target.value) }));
  }
  byId("pairs").addEventListener("change", (event) => store.set({ pairs: event.target.value }));
  bindKeys(store, model, player);
}

function bindKeys(store, model, player) {
  const { state } = store;
  const go = (frame) => store.set({ position: Math.min(Math.max(frame, 0), model.frames - 1), playing: false });
  const keys = {
    " ": () => player.toggle(),
    ArrowRight: (event) => go(state.frame + (event.shiftKey ? 10 : 1)),
    ArrowLeft: (event) => go(state.frame - (event.shiftKey ? 10 : 1)),
    Home: () => go(0),
    End: () => go(model.frames - 1),
    l: () => store.set({ log: !state.log }),
    d: () => store.set({ theme: state.theme === "dark" ? "light" : "dark" }),
    c: () => { if (model.data.members.length > 1) store.set({ compare: !state.compare }); },
    t: () => store.set({ trail: nextTrail(model.trails, state.trail) }),
    "+": () => store.set({ zoom: zoomed(state.zoom, 1.2) }),
    "-": () => store.set({ zoom: zoomed(state.zoom, 1 / 1.2) }),
    0: () => store.set(store.home),
    Escape: () => store.set({ pinned: [] }),
  };
  document.addEventListener("keydown", (event) => {
    const own = event.target.closest("select, summary, input:not(#depth)") || (event.key === " " && event.target.closest("button"));
    if (own || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key](event);
  });
}

function nextTrail(trails, now) {
  const k = trails.findIndex(([value]) => Number(value) === now);
  return Number(trails[(k + 1) % trails.length][0]);
}
