// Surfaces of masks, by surface nets (Gibson 1998). Pure; runs in Node as well.

const SURELY = 0.51; // a softened voxel of the mask stays inside, so that a thin rim has no holes
const SMOOTHING_ROUNDS = 10;
export const STEEPEST = Math.PI / 2 - 0.001; // straight up there is no telling where the nose points
const MARGIN = 1; // empty cells around the field, so that every surface is closed

// First and last index of the mask along each axis; null if it is empty. `table` says what is
// inside, its index being the stored value without its sign.
export function maskBox(values, shape, table) {
  const low = [...shape];
  const high = [-1, -1, -1];
  const bits = table.length - 1;
  let at = 0;
  for (let z = 0; z < shape[2]; z++) {
    for (let y = 0; y < shape[1]; y++) {
      for (let x = 0; x < shape[0]; x++, at++) {
        if (!table[values[at] & bits]) continue;
        if (x < low[0]) low[0] = x;
        if (x > high[0]) high[0] = x;
        if (y < low[1]) low[1] = y;
        if (y > high[1]) high[1] = y;
        if (z < low[2]) low[2] = z;
        high[2] = z;
      }
    }
  }
  return high[0] < 0 ? null : low.map((n, axis) => [n, high[axis]]);
}

// How much of the mask is in blocks of `step` voxels a side, softened: { dims, values, origin }.
// `likely` gives a voxel's probability of being inside, if there is one: where it agrees with the
// mask, the surface lies between the voxels, without their terraces.
export function maskField(values, shape, table, maskBox, step, likely = null) {
  const box = maskBox.map(([low, high], axis) => [Math.max(low - step, 0), Math.min(high + step, shape[axis] - 1)]);
  const dims = box.map(([low, high]) => Math.ceil((high - low + 1) / step) + 2 * MARGIN + 2);
  const field = new Float32Array(dims[0] * dims[1] * dims[2]);
  const inside = new Uint8Array(step === 1 ? field.length : 0);
  const bits = table.length - 1;
  for (let z = box[2][0]; z <= box[2][1]; z++) {
    const fz = Math.floor((z - box[2][0]) / step) + MARGIN + 1;
    for (let y = box[1][0]; y <= box[1][1]; y++) {
      const fy = Math.floor((y - box[1][0]) / step) + MARGIN + 1;
      const line = dims[0] * (fy + dims[1] * fz) + MARGIN + 1;
      let at = box[0][0] + shape[0] * (y + shape[1] * z);
      for (let x = 0; x <= box[0][1] - box[0][0]; x++, at++) {
        const member = table[values[at] & bits];
        const chance = likely ? likely(at) : member;
        field[line + Math.floor(x / step)] += chance >= 0.5 === member > 0 ? chance : member;
        if (step === 1) inside[line + x] = member;
      }
    }
  }
  const share = 1 / step ** 3;
  for (let n = 0; n < field.length; n++) field[n] *= share;
  soften(field, dims);
  for (let n = 0; n < inside.length; n++) field[n] = inside[n] ? Math.max(field[n], SURELY) : Math.min(field[n], 1 - SURELY);
  return { dims, values: field, step, origin: box.map(([low]) => low) };
}

// (1, 2, 1) / 4 along each axis.
function soften(field, dims) {
  const strides = [1, dims[0], dims[0] * dims[1]];
  for (let axis = 0; axis < 3; axis++) {
    const stride = strides[axis];
    const source = field.slice();
    for (let n = stride; n < field.length - stride; n++) {
      field[n] = (source[n - stride] + 2 * source[n] + source[n + stride]) / 4;
    }
  }
}

// Vertices in millimetres, outward normals and triangles of the field's half-way surface, evened out:
// every step inwards is followed by one outwards (Taubin 1995), so that nothing shrinks.
export function surfaceOf(field, affine) {
  const { dims, values } = field;
  const strides = [1, dims[0], dims[0] * dims[1]];
  const vertexOf = new Int32Array(values.length).fill(-1);
  const points = [];
  const triangles = [];
  for (let z = 0; z < dims[2] - 1; z++) {
    for (let y = 0; y < dims[1] - 1; y++) {
      for (let x = 0; x < dims[0] - 1; x++) {
        const cell = x + strides[1] * y + strides[2] * z;
        const point = crossing(values, cell, strides);
        if (!point) continue;
        vertexOf[cell] = points.length / 3;
        points.push(...toMm(affine, field, [x + point[0], y + point[1], z + point[2]]));
        faces(values, vertexOf, cell, [x, y, z], strides, triangles);
      }
    }
  }
  const positions = Float32Array.from(points);
  const indices = Uint32Array.from(triangles);
  for (let round = 0; round < SMOOTHING_ROUNDS; round++) for (const share of [0.5, -0.53]) relax(positions, indices, share);
  return { positions, normals: normalsOf(positions, indices), indices };
}

// Move every vertex by a share of the way to its neighbours' mean.
function relax(positions, indices, share) {
  const sums = new Float32Array(positions.length);
  const counts = new Uint16Array(positions.length / 3);
  for (let t = 0; t < indices.length; t += 3) {
    for (let k = 0; k < 3; k++) {
      const [from, to] = [indices[t + k], indices[t + ((k + 1) % 3)]]; // the other way round in the triangle beside it
      for (let i = 0; i < 3; i++) sums[3 * from + i] += positions[3 * to + i];
      counts[from]++;
    }
  }
  for (let n = 0; n < positions.length; n++) {
    const count = counts[Math.floor(n / 3)];
    if (count) positions[n] += share * (sums[n] / count - positions[n]);
  }
}

// Mean of the points where the surface cuts the cell's edges, from the cell's corner; null if none.
function crossing(values, cell, strides) {
  const sum = [0, 0, 0];
  let count = 0;
  for (let axis = 0; axis < 3; axis++) {
    const [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
    for (let corner = 0; corner < 4; corner++) {
      const [du, dv] = [corner & 1, corner >> 1];
      const from = cell + du * strides[u] + dv * strides[v];
      const [a, b] = [values[from], values[from + strides[axis]]];
      if (a >= 0.5 === b >= 0.5) continue;
      sum[axis] += (0.5 - a) / (b - a);
      sum[u] += du;
      sum[v] += dv;
      count++;
    }
  }
  return count ? sum.map((s) => s / count) : null;
}

// One quad for each of the cell's three lower edges that the surface cuts, facing outwards.
function faces(values, vertexOf, cell, place, strides, triangles) {
  const inside = values[cell] >= 0.5;
  for (let axis = 0; axis < 3; axis++) {
    const [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
    if (inside === values[cell + strides[axis]] >= 0.5 || place[u] === 0 || place[v] === 0) continue;
    const quad = [cell, cell - strides[u], cell - strides[u] - strides[v], cell - strides[v]].map((c) => vertexOf[c]);
    if (!inside) quad.reverse();
    triangles.push(quad[0], quad[1], quad[2], quad[0], quad[2], quad[3]);
  }
}

function toMm(affine, { step, origin }, place) {
  // a block's value stands for its middle
  const voxel = place.map((n, axis) => origin[axis] + (n - MARGIN - 1) * step + (step - 1) / 2);
  return [0, 1, 2].map((n) => affine[n][0] * voxel[0] + affine[n][1] * voxel[1] + affine[n][2] * voxel[2] + affine[n][3]);
}

function normalsOf(positions, indices) {
  const normals = new Float32Array(positions.length);
  const at = (n) => [positions[3 * n], positions[3 * n + 1], positions[3 * n + 2]];
  for (let t = 0; t < indices.length; t += 3) {
    const corners = [indices[t], indices[t + 1], indices[t + 2]];
    const [a, b, c] = corners.map(at);
    const [p, q] = [b.map((n, i) => n - a[i]), c.map((n, i) => n - a[i])];
    const cross = [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]];
    for (const n of corners) for (let i = 0; i < 3; i++) normals[3 * n + i] += cross[i];
  }
  for (let n = 0; n < normals.length; n += 3) {
    const length = Math.hypot(normals[n], normals[n + 1], normals[n + 2]) || 1;
    for (let i = 0; i < 3; i++) normals[n + i] /= length;
  }
  return normals;
}

// What counts as tissue: all that is not background. Skull-stripped scans have 0 around the brain;
// others are cut a little above their darkest tenth.
export function tissueTable(header, corner) {
  const [low, high] = header.window;
  const value = corner * header.scale + header.offset;
  const threshold = value === 0 && low > 0 ? 0 : low + 0.15 * (high - low);
  const table = new Uint8Array(65536);
  for (let stored = -32768; stored < 32768; stored++) {
    table[stored & 0xffff] = stored * header.scale + header.offset > threshold ? 1 : 0;
  }
  return table;
}

// A head is seen as it stands in the room, in either convention: mirrored it would be another
// patient's. "Foot" is how radiologists look at axial slices, the patient's right on the left.
export const VIEWS = {
  Front: { hint: "Look from the front", yaw: 0, pitch: 0 },
  Back: { hint: "Look from behind", yaw: Math.PI, pitch: 0 },
  Right: { hint: "Look from the patient's right", yaw: Math.PI / 2, pitch: 0 },
  Left: { hint: "Look from the patient's left", yaw: -Math.PI / 2, pitch: 0 },
  Top: { hint: "Look from above, the nose up: the patient's right is on the right", yaw: Math.PI, pitch: STEEPEST },
  Foot: { hint: "Look from the feet, the nose up: the patient's right is on the left", yaw: 0, pitch: -STEEPEST },
};

// The patient's directions of the screen's right, its upper edge and the viewer, looking from
// `yaw` (0: from the front, a quarter turn: from the patient's right) and `pitch` (up).
export function camera(yaw, pitch) {
  const eye = [Math.sin(yaw) * Math.cos(pitch), Math.cos(yaw) * Math.cos(pitch), Math.sin(pitch)];
  const right = [-Math.cos(yaw), Math.sin(yaw), 0];
  const up = [eye[1] * right[2] - eye[2] * right[1], eye[2] * right[0] - eye[0] * right[2], eye[0] * right[1] - eye[1] * right[0]];
  return { right, up, eye };
}
