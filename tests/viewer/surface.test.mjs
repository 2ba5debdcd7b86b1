import assert from "node:assert/strict";
import test from "node:test";
import { VIEWS, camera, maskBox, maskField, surfaceOf, tissueTable } from "../../pages/components/viewer/frontend/surface.js";
import { membership } from "../../pages/components/viewer/frontend/slicing.js";

const IDENTITY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]];

function ball(shape, centre, radius) {
  const values = new Uint8Array(shape[0] * shape[1] * shape[2]);
  let at = 0;
  for (let z = 0; z < shape[2]; z++)
    for (let y = 0; y < shape[1]; y++)
      for (let x = 0; x < shape[0]; x++, at++)
        if (Math.hypot(x - centre[0], y - centre[1], z - centre[2]) <= radius) values[at] = 4;
  return values;
}

// Volume inside a closed surface whose triangles face outwards, by the divergence theorem.
function volumeOf({ positions, indices }) {
  let six = 0;
  for (let t = 0; t < indices.length; t += 3) {
    const [a, b, c] = [0, 1, 2].map((k) => [...positions.slice(3 * indices[t + k], 3 * indices[t + k] + 3)]);
    six += a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
  }
  return six / 6;
}

function surfaceOfBall(shape, centre, radius, step, affine = IDENTITY) {
  const table = membership([4]);
  const values = ball(shape, centre, radius);
  const box = maskBox(values, shape, table);
  return surfaceOf(maskField(values, shape, table, box, step), affine);
}

test("the box of a mask is its first and last voxel along each axis", () => {
  const values = new Uint8Array(24);
  values[1 + 2 * (1 + 3 * 2)] = 4;
  values[0 + 2 * (2 + 3 * 1)] = 4;
  assert.deepEqual(maskBox(values, [2, 3, 4], membership([4])), [[0, 1], [1, 2], [1, 2]]);
  assert.equal(maskBox(values, [2, 3, 4], membership([1])), null);
});

for (const step of [1, 2, 3]) {
  test(`a ball's surface encloses the ball's volume, faces outwards, blocks of ${step}`, () => {
    const volume = volumeOf(surfaceOfBall([40, 40, 40], [19, 20, 21], 14, step));
    const exact = (4 / 3) * Math.PI * 14 ** 3;
    const curvature = 0.04 * step; // softening draws a small ball in: the coarser, the more
    assert.ok(Math.abs(volume / exact - 1) < 0.03 + curvature, `${volume} against ${exact}`);
  });
}

test("a surface lies where the mask lies, in millimetres", () => {
  const affine = [[2, 0, 0, -30], [0, 1, 0, 5], [0, 0, 3, 0], [0, 0, 0, 1]];
  const { positions } = surfaceOfBall([40, 40, 40], [19, 20, 21], 12, 2, affine);
  const range = [0, 1, 2].map((axis) => {
    const along = positions.filter((_, n) => n % 3 === axis);
    return [Math.min(...along), Math.max(...along)];
  });
  const expected = [[19, 2, -30], [20, 1, 5], [21, 3, 0]].map(([c, s, o]) => [(c - 12) * s + o, (c + 12) * s + o, s]);
  range.forEach(([low, high], n) => {
    const [from, to, spacing] = expected[n];
    assert.ok(Math.abs(low - from) < 1.5 * spacing && Math.abs(high - to) < 1.5 * spacing, `${axisName(n)}: ${low}..${high}`);
  });
});

const axisName = (n) => "RAS"[n];

test("a mask at the grid's border has a closed surface", () => {
  const shape = [6, 6, 6];
  const values = new Uint8Array(216).fill(4);
  const table = membership([4]);
  const mesh = surfaceOf(maskField(values, shape, table, maskBox(values, shape, table), 1), IDENTITY);
  const edges = new Map();
  for (let t = 0; t < mesh.indices.length; t += 3) {
    for (let k = 0; k < 3; k++) {
      const key = [mesh.indices[t + k], mesh.indices[t + ((k + 1) % 3)]].sort((a, b) => a - b).join();
      edges.set(key, (edges.get(key) ?? 0) + 1);
    }
  }
  assert.ok([...edges.values()].every((count) => count === 2));
});

test("from the front the patient's right is on the screen's left", () => {
  const { right, up, eye } = camera(0, 0);
  assert.deepEqual(right.map((n) => Math.round(n) + 0), [-1, 0, 0]);
  assert.deepEqual(up.map((n) => Math.round(n) + 0), [0, 0, 1]);
  assert.deepEqual(eye.map((n) => Math.round(n) + 0), [0, 1, 0]);
});

test("from the patient's right, the face is on the screen's right", () => {
  const { right, eye } = camera(Math.PI / 2, 0);
  assert.deepEqual(right.map((n) => Math.round(n) + 0), [0, 1, 0]);
  assert.deepEqual(eye.map((n) => Math.round(n) + 0), [1, 0, 0]);
});

test("background is 0 in a skull-stripped scan and below the dark tissue in any other", () => {
  const stripped = tissueTable({ scale: 1, offset: 0, window: [50, 1000] }, 0);
  assert.deepEqual([stripped[0], stripped[1]], [0, 1]);
  const noisy = tissueTable({ scale: 1, offset: 0, window: [10, 1010] }, 7);
  assert.deepEqual([noisy[100], noisy[161]], [0, 1]);
});

// How far the surface's normals stray from a ball's, in degrees: the terraces of its voxels.
function roughness({ positions, normals }, centre) {
  let sum = 0;
  for (let n = 0; n < positions.length; n += 3) {
    const out = [0, 1, 2].map((i) => positions[n + i] - centre[i]);
    const cosine = [0, 1, 2].reduce((dot, i) => dot + out[i] * normals[n + i], 0) / Math.hypot(...out);
    sum += Math.acos(Math.min(1, cosine));
  }
  return (sum / (positions.length / 3)) * (180 / Math.PI);
}

test("where the probability agrees with the mask, the surface has no terraces", () => {
  const [shape, centre, radius] = [[40, 40, 40], [19, 20, 21], 14];
  const values = ball(shape, centre, radius);
  const table = membership([4]);
  const box = maskBox(values, shape, table);
  // one half on the ball's surface, falling from 1 to 0 within four voxels
  const likely = (at) => {
    const [x, y, z] = [at % 40, Math.floor(at / 40) % 40, Math.floor(at / 1600)];
    return Math.min(1, Math.max(0, 0.5 + (radius - Math.hypot(x - 19, y - 20, z - 21)) / 4));
  };
  const even = surfaceOf(maskField(values, shape, table, box, 1, likely), IDENTITY);
  const hard = surfaceOf(maskField(values, shape, table, box, 1), IDENTITY);
  assert.ok(roughness(even, centre) < 1.5, String(roughness(even, centre)));
  assert.ok(roughness(hard, centre) < 4, String(roughness(hard, centre)));
  assert.ok(Math.abs(volumeOf(even) / ((4 / 3) * Math.PI * 14 ** 3) - 1) < 0.03);
});

test("where the probability contradicts the mask, the mask is drawn", () => {
  const mask = ball([40, 40, 40], [19, 20, 21], 14);
  const table = membership([4]);
  const box = maskBox(mask, [40, 40, 40], table);
  const drawn = volumeOf(surfaceOf(maskField(mask, [40, 40, 40], table, box, 1, (at) => (mask[at] ? 0.1 : 0.9)), IDENTITY));
  assert.ok(Math.abs(drawn / ((4 / 3) * Math.PI * 14 ** 3) - 1) < 0.03, String(drawn));
});

test("a rim one voxel thick is drawn without holes", () => {
  const shape = [40, 40, 40];
  const values = new Uint8Array(40 ** 3); // a plate that stands across the grid, 30 voxels wide and high
  for (let z = 5; z < 35; z++) for (let x = 5; x < 35; x++) for (const y of [x, x + 1]) values[x + 40 * (y + 40 * z)] = 4;
  const table = membership([4]);
  const { positions, indices } = surfaceOf(maskField(values, shape, table, maskBox(values, shape, table), 1), IDENTITY);
  assert.equal(positions.length / 3 - indices.length / 6, 2); // Euler: one closed surface, no handles
  assert.ok(Math.max(...positions.filter((_, n) => n % 3 === 2)) > 33);
});

// What lies at the screen's upper edge and at its right, looked at by a button's name.
function edges(name) {
  const { right, up } = camera(VIEWS[name].yaw, VIEWS[name].pitch);
  const letter = (direction) => {
    const axis = direction.map(Math.abs).indexOf(Math.max(...direction.map(Math.abs)));
    return (direction[axis] > 0 ? "RAS" : "LPI")[axis];
  };
  return [letter(up), letter(right)];
}

test("every button looks from where it says: nose up from above and below, right never for left", () => {
  assert.deepEqual(edges("Front"), ["S", "L"]);
  assert.deepEqual(edges("Back"), ["S", "R"]);
  assert.deepEqual(edges("Right"), ["S", "A"]);
  assert.deepEqual(edges("Left"), ["S", "P"]);
  assert.deepEqual(edges("Top"), ["A", "R"]);
  assert.deepEqual(edges("Foot"), ["A", "L"]); // as axial slices hang radiologically
});
