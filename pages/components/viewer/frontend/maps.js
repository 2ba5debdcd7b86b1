// Colours of the probability and uncertainty maps.

// Matplotlib's viridis and magma at even distances (both perceptually uniform, CC0).
const STOPS = {
  probability: ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"],
  uncertainty: ["#000004", "#3b0f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf"],
};
const FAINTEST = 5; // of 255: below it, nothing is worth a veil over the scan

export function gradient(name) {
  return STOPS[name].join(", ");
}

// Colour of every stored probability, more opaque the higher it is.
export function mapTable(name) {
  const stops = STOPS[name].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint32Array(256);
  for (let value = FAINTEST; value < 256; value++) {
    const place = (value / 255) * (stops.length - 1);
    const n = Math.min(Math.floor(place), stops.length - 2);
    const [r, g, b] = stops[n].map((from, c) => Math.round(from + (stops[n + 1][c] - from) * (place - n)));
    const alpha = Math.round(Math.min(1, value / 64) * 255);
    table[value] = ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
  }
  return table;
}

// How undecided the least certain region is: 0 where every probability is 0 or 1, 255 at one half.
export function uncertainty(probabilities) {
  const worst = new Uint8Array(probabilities[0].length);
  for (const p of probabilities) {
    for (let n = 0; n < worst.length; n++) {
      const doubt = 255 - Math.abs(2 * p[n] - 255);
      if (doubt > worst[n]) worst[n] = doubt;
    }
  }
  return worst;
}
