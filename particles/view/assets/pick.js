// Which token is meant by a place on the screen.

/** The nearest token within reach, those on the near side first; -1 if there is none. `places` holds x, y, toward. */
export function nearest(places, x, y, reach, hides) {
  let best = -1;
  let least = reach * reach;
  let front = false;
  for (let i = 0; i < places.length / 3; i++) {
    const [dx, dy] = [places[3 * i] - x, places[3 * i + 1] - y];
    const square = dx * dx + dy * dy;
    if (!(square <= reach * reach)) continue;
    const near = !hides || places[3 * i + 2] >= 0;
    if ((near && !front) || (near === front && square <= least)) [best, least, front] = [i, square, near];
  }
  return best;
}
