// What is being looked at, and who wants to know when it changes.

export class Store {
  constructor(state) {
    this.state = state;
    this.listeners = [];
    this.waiting = null;
  }

  /** Calls a listener with the state and the keys that changed, once per picture on the screen. */
  listen(listener) {
    this.listeners.push(listener);
  }

  set(patch) {
    const changed = Object.keys(patch).filter((key) => this.state[key] !== patch[key]);
    if (!changed.length) return;
    Object.assign(this.state, patch);
    if (this.waiting) return changed.forEach((key) => this.waiting.add(key));
    this.waiting = new Set(changed);
    requestAnimationFrame(() => this.tell());
  }

  /** Tells all listeners now. */
  tell(keys = this.waiting ?? new Set()) {
    this.waiting = null;
    for (const listener of this.listeners) listener(this.state, keys);
  }
}
