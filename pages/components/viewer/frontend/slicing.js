// From volumes to pixels. Everything here is pure and runs in Node as well.

// Colours are packed as a canvas's ImageData stores them on little-endian machines: ABGR.
export function packed(hex, alpha = 255) {
  const n = parseInt(hex.slice(1), 16);
  return ((alpha << 24) | ((n & 255) << 16) | (n & 0xff00) | (n >> 16)) >>> 0;
}

// Grey of every stored int16 value (index: value & 0xffff), for a window in the scan's own units.
export function greyTable(header, window) {
  const table = new Uint32Array(65536);
  const low = (window[0] - header.offset) / header.scale;
  const span = Math.max((window[1] - window[0]) / header.scale, 1e-6);
  for (let stored = -32768; stored < 32768; stored++) {
    const grey = Math.round(Math.min(Math.max((stored - low) / span, 0), 1) * 255);
    table[stored & 0xffff] = (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
  }
  return table;
}

// Through a table whose index is the stored value without its sign.
export function paint(pixels, values, walk, table) {
  const mask = table.length - 1;
  const { width, height, stepU, stepV } = walk;
  let at = 0;
  for (let row = 0; row < height; row++) {
    let from = walk.start + row * stepV;
    for (let column = 0; column < width; column++, from += stepU) pixels[at++] = table[values[from] & mask];
  }
}

// Colour of every label when `layers` are painted in order, the last one on top; 0 is transparent.
export function fillTable(layers) {
  const table = new Uint32Array(256);
  for (const layer of layers) {
    if (!layer.on) continue;
    for (const member of layer.members) table[member] = packed(layer.colour);
  }
  return table;
}

export function membership(members) {
  const table = new Uint8Array(256);
  for (const member of members) table[member] = 1;
  return table;
}

// The border of a set of labels as straight runs along voxel edges: a flat list of x0, y0, x1, y1
// in columns and rows of the slice, and the side on which the set lies: 1 towards larger x or y, -1
// towards smaller. Each run is as long as it goes.
export function outline(values, walk, inside) {
  const { width, height, stepU, stepV } = walk;
  const mask = new Uint8Array((width + 2) * (height + 2)); // a margin, so that edges need no care
  const pitch = width + 2;
  let any = false;
  for (let row = 0; row < height; row++) {
    let from = walk.start + row * stepV;
    for (let column = 0; column < width; column++, from += stepU) {
      if (inside[values[from]]) {
        mask[(row + 1) * pitch + column + 1] = 1;
        any = true;
      }
    }
  }
  const runs = [];
  if (!any) return runs;
  for (let y = 0; y <= height; y++) {
    const side = (n) => mask[(y + 1) * pitch + n + 1] - mask[y * pitch + n + 1];
    collect(width, side, (from, to, sign) => runs.push(from, y, to, y, sign));
  }
  for (let x = 0; x <= width; x++) {
    const side = (n) => mask[(n + 1) * pitch + x + 1] - mask[(n + 1) * pitch + x];
    collect(height, side, (from, to, sign) => runs.push(x, from, x, to, sign));
  }
  return runs;
}

function collect(count, sideOf, emit) {
  let begin = 0;
  let sign = 0;
  for (let n = 0; n <= count; n++) {
    const side = n < count ? sideOf(n) : 0;
    if (side === sign) continue;
    if (sign) emit(begin, n, sign);
    begin = n;
    sign = side;
  }
}

// Voxels of any of `inside` in every slice along each axis: [along x, along y, along z].
export function slicesHolding(values, shape, inside) {
  const [nx, ny, nz] = shape;
  const counts = shape.map((n) => new Uint32Array(n));
  let at = 0;
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      let inRow = 0;
      for (let x = 0; x < nx; x++, at++) {
        if (inside[values[at]]) {
          counts[0][x]++;
          inRow++;
        }
      }
      counts[1][y] += inRow;
      counts[2][z] += inRow;
    }
  }
  return counts;
}

// 1 where only the first mask is, 2 where only the second, 3 where both; and how often each occurs.
export function difference(first, second, inside) {
  const values = new Uint8Array(first.length);
  const counts = [0, 0, 0, 0];
  for (let n = 0; n < values.length; n++) {
    const code = inside[first[n]] | (inside[second[n]] << 1);
    values[n] = code;
    counts[code]++;
  }
  return { values, counts };
}

export function largest(counts) {
  let best = -1;
  for (let n = 0; n < counts.length; n++) if (counts[n] > 0 && (best < 0 || counts[n] > counts[best])) best = n;
  return best;
}

// The nearest slice with tumour beyond `from`; where there is none, the first from the other end.
export function nextHolding(counts, from, step) {
  for (let n = from + step; n >= 0 && n < counts.length; n += step) if (counts[n] > 0) return n;
  for (let n = step > 0 ? 0 : counts.length - 1; n !== from && n >= 0 && n < counts.length; n += step) {
    if (counts[n] > 0) return n;
  }
  return -1;
}

// The voxel of a slice's tumour that lies nearest to its centre of gravity; null if there is none.
export function heart(values, walk, inside) {
  const found = [];
  let sumColumn = 0;
  let sumRow = 0;
  for (let row = 0; row < walk.height; row++) {
    let from = walk.start + row * walk.stepV;
    for (let column = 0; column < walk.width; column++, from += walk.stepU) {
      if (!inside[values[from]]) continue;
      found.push([column, row]);
      sumColumn += column;
      sumRow += row;
    }
  }
  if (!found.length) return null;
  const middle = [sumColumn / found.length, sumRow / found.length];
  const distance = (p) => (p[0] - middle[0]) ** 2 + (p[1] - middle[1]) ** 2;
  return found.reduce((best, p) => (distance(p) < distance(best) ? p : best));
}

export function valueAt(volume, shape, voxel) {
  const stored = volume.values[voxel[0] + shape[0] * (voxel[1] + shape[1] * voxel[2])];
  const { scale = 1, offset = 0 } = volume.header;
  return stored * scale + offset;
}

// A round length in mm whose bar is at most `maxPx` long.
export function scaleBarMm(pxPerMm, maxPx) {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200];
  return steps.filter((mm) => mm * pxPerMm <= maxPx).at(-1) ?? steps[0];
}

// A preset of a scan's first window: another width about another middle.
export function presetWindow([low, high], { width, level }) {
  const middle = low + (high - low) * level;
  const half = ((high - low) * width) / 2;
  return [middle - half, middle + half];
}

// A window made wider and moved higher, both in widths of the scan's first window; never inside out.
export function windowAround([low, high], first, wider, higher) {
  const unit = first[1] - first[0];
  const width = Math.max(high - low + wider * unit, unit / 300);
  const level = (high + low) / 2 + higher * unit;
  return [level - width / 2, level + width / 2];
}

const TUMOUR_SHARES = [0.02, 0.98]; // of its voxels; what lies beyond is vessels and partial volume

// From the darkest to the brightest of a scan's voxels inside a mask; null if there are too few.
export function tumourWindow(volume, labels, inside) {
  const found = [];
  for (let n = 0; n < labels.length; n++) if (inside[labels[n]]) found.push(volume.values[n]);
  if (!found.length) return null;
  const sorted = Int16Array.from(found).sort();
  const { scale, offset } = volume.header;
  const [low, high] = TUMOUR_SHARES.map((share) => sorted[Math.round(share * (sorted.length - 1))] * scale + offset);
  return high > low ? [low, high] : null;
}
