// Expected values were worked out on paper for a 4 x 3 x 2 grid whose voxel (x, y, z) lies at
// x + 4 y + 12 z in the volume.
import assert from "node:assert/strict";
import test from "node:test";
import {
  edgeMarks,
  growsTowards,
  isMirrored,
  obliqueness,
  placement,
  sliceWalk,
  toPixel,
  toVoxel,
  transform,
} from "../../pages/components/viewer/frontend/geometry.js";

const SHAPE = [4, 3, 2];
const IDENTITY = [
  [1, 0, 0, 0],
  [0, 1, 0, 0],
  [0, 0, 1, 0],
  [0, 0, 0, 1],
];

function walked(walk) {
  const rows = [];
  for (let row = 0; row < walk.height; row++) {
    rows.push(Array.from({ length: walk.width }, (_, c) => walk.start + c * walk.stepU + row * walk.stepV));
  }
  return rows;
}

test("an axial slice has anterior at the top and, neurologically, the patient's right on the right", () => {
  assert.deepEqual(walked(sliceWalk(SHAPE, "axial", 1, false)), [
    [20, 21, 22, 23],
    [16, 17, 18, 19],
    [12, 13, 14, 15],
  ]);
});

test("a mirrored axial slice runs from the patient's right to the left", () => {
  assert.deepEqual(walked(sliceWalk(SHAPE, "axial", 0, true)), [
    [11, 10, 9, 8],
    [7, 6, 5, 4],
    [3, 2, 1, 0],
  ]);
});

test("a coronal slice has superior at the top", () => {
  assert.deepEqual(walked(sliceWalk(SHAPE, "coronal", 2, true)), [
    [23, 22, 21, 20],
    [11, 10, 9, 8],
  ]);
});

test("a sagittal slice has the nose on the left", () => {
  assert.deepEqual(walked(sliceWalk(SHAPE, "sagittal", 3, isMirrored("sagittal", "neurological"))), [
    [23, 19, 15],
    [11, 7, 3],
  ]);
});

test("only the radiological convention mirrors axial and coronal slices", () => {
  for (const plane of ["axial", "coronal"]) {
    assert.equal(isMirrored(plane, "radiological"), true);
    assert.equal(isMirrored(plane, "neurological"), false);
  }
});

test("pixel and voxel are each other's inverse in every plane and convention", () => {
  for (const plane of ["axial", "coronal", "sagittal"]) {
    for (const mirrored of [true, false]) {
      const voxel = [3, 1, 1];
      const index = voxel[{ axial: 2, coronal: 1, sagittal: 0 }[plane]];
      assert.deepEqual(toVoxel(SHAPE, plane, mirrored, toPixel(SHAPE, plane, mirrored, voxel), index), voxel);
    }
  }
});

test("the walk visits the voxel that toVoxel names", () => {
  const walk = sliceWalk(SHAPE, "coronal", 1, true);
  const [x, y, z] = toVoxel(SHAPE, "coronal", true, [1, 0], 1);
  assert.equal(walk.start + walk.stepU, x + 4 * y + 12 * z);
});

test("marks follow the convention", () => {
  assert.deepEqual(edgeMarks(IDENTITY, "axial", true), { left: "R", right: "L", top: "A", bottom: "P" });
  assert.deepEqual(edgeMarks(IDENTITY, "axial", false), { left: "L", right: "R", top: "A", bottom: "P" });
  assert.deepEqual(edgeMarks(IDENTITY, "coronal", true), { left: "R", right: "L", top: "S", bottom: "I" });
  assert.deepEqual(edgeMarks(IDENTITY, "sagittal", true), { left: "A", right: "P", top: "S", bottom: "I" });
});

test("marks come from the affine, not from the axis' number", () => {
  const flipped = [[-1, 0, 0, 0], ...IDENTITY.slice(1)];
  assert.equal(growsTowards(flipped, 0), "L");
});

test("a grid far askew gets a second letter, a slightly tilted one does not", () => {
  const tilted = (degrees) => {
    const [c, s] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
    return [[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]];
  };
  assert.equal(growsTowards(tilted(30), 1), "AS");
  assert.equal(growsTowards(tilted(30), 1, -1), "PI");
  assert.equal(growsTowards(tilted(20), 1), "A");
  assert.ok(Math.abs(obliqueness(tilted(20)) - 20) < 1e-9);
});

test("millimetres come from the affine", () => {
  const affine = [[2, 0, 0, -10], [0, 0, 3, 1], [0, 1, 0, 5], [0, 0, 0, 1]];
  assert.deepEqual(transform(affine, [1, 2, 3]), [-8, 10, 7]);
});

test("the tissue's box fills the pane, in millimetres and not in voxels", () => {
  const grid = { shape: [100, 100, 20], spacing: [1, 1, 5] };
  const box = [[0, 99], [0, 99], [0, 19]];
  const place = placement(grid, box, "coronal", true, { width: 500, height: 500 }, { zoom: 1, panX: 0, panY: 0 });
  assert.equal(place.scaleY / place.scaleX, 5);
  assert.ok(Math.abs(place.left + 50 * place.scaleX - 250) < 1e-9); // the box's centre is the pane's
  assert.ok(Math.abs(place.top + 10 * place.scaleY - 250) < 1e-9);
  assert.ok(Math.abs(100 * place.scaleX - 0.94 * 500) < 1e-9);
});

test("an off-centre box is centred in either convention", () => {
  const grid = { shape: [100, 100, 100], spacing: [1, 1, 1] };
  const box = [[10, 29], [0, 99], [0, 99]];
  for (const mirrored of [true, false]) {
    const place = placement(grid, box, "axial", mirrored, { width: 400, height: 400 }, { zoom: 2, panX: 0, panY: 0 });
    const [column] = toPixel(grid.shape, "axial", mirrored, [19.5, 0, 0]);
    assert.ok(Math.abs(place.left + (column + 0.5) * place.scaleX - 200) < 1e-9);
  }
});

test("what was zoomed and panned to is in the same place of a smaller pane", () => {
  const grid = { shape: [100, 100, 100], spacing: [1, 1, 1] };
  const box = [[0, 99], [0, 99], [0, 99]];
  const share = (side) => {
    const place = placement(grid, box, "axial", false, { width: side, height: side }, { zoom: 4, panX: 60, panY: -30 });
    return [(place.left + 36 * place.scaleX) / side, (place.top + 58 * place.scaleY) / side];
  };
  const [[x, y], [smallX, smallY]] = [share(800), share(300)];
  assert.ok(Math.abs(x - smallX) < 1e-9 && Math.abs(y - smallY) < 1e-9);
  // 14 columns left of the centre at four times 0.94 %, moved by 60 times 0.94 %
  assert.ok(Math.abs(x - (0.5 + 0.0094 * (60 - 4 * 14))) < 1e-9);
});
