// Where a depth stands on the slider, and back: linear, or logarithmic beyond the first step.

/** The place of every depth on an axis from 0 to 1. */
export function along(times, log) {
  const last = times.length - 1;
  if (last < 1) return times.map(() => 0);
  const span = times[last] - times[0];
  const floor = Math.min(...times.slice(1).map((t, k) => t - times[k]).filter((step) => step > 0));
  const place = log ? (t) => Math.asinh((t - times[0]) / floor) / Math.asinh(span / floor) : (t) => (t - times[0]) / span;
  return times.map(place);
}

/** A function from any depth to its place on that axis. */
export function axisOf(times, log) {
  const places = along(times, log);
  return (t) => interpolated(places, positionIn(times, t));
}

/** The position between entries of increasing numbers at which a value stands: 2.5 is half way from the third on. */
export function positionIn(numbers, value) {
  const last = numbers.length - 1;
  if (last < 1 || !(value > numbers[0])) return 0;
  if (value >= numbers[last]) return last;
  let low = 0;
  let high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (numbers[middle] <= value) low = middle;
    else high = middle;
  }
  const step = numbers[high] - numbers[low];
  return low + (step > 0 ? (value - numbers[low]) / step : 0);
}

/** The number that stands at a position between entries. */
export function interpolated(numbers, position) {
  const k = Math.min(Math.max(Math.floor(position), 0), numbers.length - 1);
  const next = Math.min(k + 1, numbers.length - 1);
  return numbers[k] + (numbers[next] - numbers[k]) * (position - k);
}

/** The last entry of increasing numbers that is not beyond a value. */
export function lastBefore(numbers, value) {
  return Math.floor(positionIn(numbers, value) + 1e-9);
}
