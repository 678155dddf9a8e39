// What pairs of tokens have to do with each other, from their positions.

/** All inner products, row by row, of points `[token][coordinate]`; those that are nowhere give NaN. */
export function products(points) {
  const n = points.length;
  const found = new Float64Array(n * n).fill(NaN);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      if (!points[i] || !points[j]) continue;
      let sum = 0;
      for (let k = 0; k < points[i].length; k++) sum += points[i][k] * points[j][k];
      found[i * n + j] = found[j * n + i] = sum;
    }
  }
  return found;
}

export function cosines(points) {
  const n = points.length;
  const found = products(points);
  const size = Array.from({ length: n }, (_, i) => Math.sqrt(found[i * n + i]));
  return found.map((v, k) => v / (size[Math.floor(k / n)] * size[k % n]));
}

export function distances(points) {
  const n = points.length;
  const dot = products(points);
  return dot.map((v, k) => {
    const [i, j] = [Math.floor(k / n), k % n];
    return Math.sqrt(Math.max(dot[i * n + i] + dot[j * n + j] - 2 * v, 0));
  });
}

/** Weights of softmax attention: rows of positive numbers whose sum is one. */
export function attentionWeights(points, { score, beta, causal }) {
  const n = points.length;
  const logits = score === "dot" ? products(points).map((v) => beta * v) : distances(points).map((v) => -0.5 * beta * v * v);
  const found = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = logits.subarray(i * n, (i + 1) * n);
    const sees = (j) => Number.isFinite(row[j]) && (!causal || j <= i);
    let peak = -Infinity;
    for (let j = 0; j < n; j++) if (sees(j)) peak = Math.max(peak, row[j]);
    let sum = 0;
    for (let j = 0; j < n; j++) if (sees(j)) sum += found[i * n + j] = Math.exp(row[j] - peak);
    for (let j = 0; j < n; j++) found[i * n + j] = Number.isFinite(row[i]) ? found[i * n + j] / sum : NaN;
  }
  return found;
}
