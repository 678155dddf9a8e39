// The state of a view in the fragment of its address, so that it can be linked: `#f=40&log=1`, or just `#40`.

const WHOLE = /^\d+$/;

/** What a fragment says; what it gets wrong is left out. */
export function parsed(fragment) {
  const text = fragment.replace(/^#/, "");
  if (WHOLE.test(text)) return { frame: Number(text) };
  const words = new URLSearchParams(text);
  const found = {};
  const whole = (key) => WHOLE.test(words.get(key) ?? "");
  const list = (key) => words.get(key).split(".").map(Number);
  const real = (key) => words.has(key) && words.get(key) !== "" && Number.isFinite(Number(words.get(key)));
  if (whole("f")) found.frame = Number(words.get("f"));
  if (words.has("log")) found.log = words.get("log") !== "0";
  if (["dark", "light"].includes(words.get("theme"))) found.theme = words.get("theme");
  if (words.get("color")) found.color = words.get("color");
  if (words.get("pairs")) found.pairs = words.get("pairs");
  if (whole("trail")) found.trail = Number(words.get("trail"));
  if (words.has("compare")) found.compare = words.get("compare") !== "0";
  for (const key of ["a", "b", "pin"]) if (/^\d+(\.\d+)*$/.test(words.get(key) ?? "")) found[key] = list(key);
  for (const key of ["yaw", "pitch", "zoom", "x", "y"]) if (real(key)) found[key] = Number(words.get(key));
  if (words.has("canvas")) found.canvas = true;
  return found;
}

/** The fragment of a state; what is as at the beginning is left out. */
export function written(state, start) {
  const words = [`f=${state.frame}`];
  const put = (key, value, same) => { if (value !== same) words.push(`${key}=${value}`); };
  put("log", state.log ? 1 : 0, start.log ? 1 : 0);
  put("theme", state.theme, start.theme);
  put("color", encodeURIComponent(state.color), encodeURIComponent(start.color));
  put("pairs", state.pairs, start.pairs);
  put("trail", state.trail, start.trail);
  put("compare", state.compare ? 1 : 0, 0);
  put("a", state.a.join("."), start.a.join("."));
  if (state.compare) put("b", state.b.join("."), start.b.join("."));
  put("pin", state.pinned.join("."), "");
  for (const key of ["yaw", "pitch", "zoom"]) put(key, state[key].toFixed(3), start[key].toFixed(3));
  put("x", state.pan[0].toFixed(3), "0.000");
  put("y", state.pan[1].toFixed(3), "0.000");
  if (state.canvas) words.push("canvas");
  return `#${words.join("&")}`;
}
