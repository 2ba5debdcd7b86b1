import assert from "node:assert/strict";
import test from "node:test";
import { WheelSteps } from "../../pages/components/viewer/frontend/interaction.js";
import { mapTable, uncertainty } from "../../pages/components/viewer/frontend/maps.js";
import {
  difference,
  fillTable,
  greyTable,
  heart,
  largest,
  membership,
  nextHolding,
  outline,
  packed,
  paint,
  presetWindow,
  scaleBarMm,
  slicesHolding,
  tumourWindow,
  valueAt,
  windowAround,
} from "../../pages/components/viewer/frontend/slicing.js";

const walk = (width, height) => ({ width, height, start: 0, stepU: 1, stepV: width });
const grey = (level) => (0xff000000 | (level << 16) | (level << 8) | level) >>> 0;

test("a colour is packed as ABGR", () => {
  assert.equal(packed("#d55e00"), 0xff005ed5);
  assert.equal(packed("#ffffff", 0), 0x00ffffff);
});

test("the window's ends are black and white and its middle is grey, also for negative values", () => {
  const table = greyTable({ scale: 1, offset: 0 }, [-100, 100]);
  assert.equal(table[-100 & 0xffff], grey(0));
  assert.equal(table[0], grey(128));
  assert.equal(table[100], grey(255));
  assert.equal(table[-30000 & 0xffff], grey(0));
  assert.equal(table[30000], grey(255));
});

test("a window is in the scan's own units, not in stored ones", () => {
  const table = greyTable({ scale: 0.5, offset: 10 }, [10, 20]); // stored 0 .. 20
  assert.equal(table[0], grey(0));
  assert.equal(table[10], grey(128));
  assert.equal(table[20], grey(255));
});

test("a slice is painted through the table, in the order of the walk", () => {
  const pixels = new Uint32Array(4);
  paint(pixels, Int16Array.of(0, 10, -5, 20), { width: 2, height: 2, start: 3, stepU: -1, stepV: -2 }, greyTable({ scale: 1, offset: 0 }, [0, 20]));
  assert.deepEqual([...pixels], [grey(255), grey(0), grey(128), grey(0)]);
});

test("later layers are painted over earlier ones, and switched-off ones not at all", () => {
  const whole = { members: [1, 2, 4], colour: "#0000ff", on: true };
  const core = { members: [1, 4], colour: "#00ff00", on: true };
  let table = fillTable([whole, core]);
  assert.deepEqual([table[2], table[1], table[4], table[0]], [packed("#0000ff"), packed("#00ff00"), packed("#00ff00"), 0]);
  table = fillTable([whole, { ...core, on: false }]);
  assert.equal(table[1], packed("#0000ff"));
});

test("the outline of one voxel is its four edges", () => {
  const values = Uint8Array.of(0, 0, 0, 0, 4, 0, 0, 0, 0);
  const runs = outline(values, walk(3, 3), membership([4]));
  assert.deepEqual(runs, [1, 1, 2, 1, 1, 1, 2, 2, 2, -1, 1, 1, 1, 2, 1, 2, 1, 2, 2, -1]);
});

test("the outline of a row is drawn in long runs, also along the slice's border", () => {
  const values = Uint8Array.of(2, 2, 2, 0, 0, 0);
  const runs = outline(values, walk(3, 2), membership([2]));
  assert.deepEqual(runs, [0, 0, 3, 0, 1, 0, 1, 3, 1, -1, 0, 0, 0, 1, 1, 3, 0, 3, 1, -1]);
});

test("labels of one set have no outline between them", () => {
  const values = Uint8Array.of(1, 4);
  assert.equal(outline(values, walk(2, 1), membership([1, 4])).length / 5, 4);
  assert.equal(outline(values, walk(2, 1), membership([2])).length, 0);
});

test("a hole has an outline of its own", () => {
  const values = Uint8Array.of(1, 1, 1, 1, 0, 1, 1, 1, 1);
  assert.equal(outline(values, walk(3, 3), membership([1])).length / 5, 8);
});

test("a run ends where the set changes sides", () => {
  const values = Uint8Array.of(1, 0, 0, 1);
  const runs = outline(values, walk(2, 2), membership([1]));
  const middle = [];
  for (let n = 0; n < runs.length; n += 5) if (runs[n + 1] === 1 && runs[n + 3] === 1) middle.push(runs.slice(n, n + 5));
  assert.deepEqual(middle, [[0, 1, 1, 1, -1], [1, 1, 2, 1, 1]]);
});

test("tumour is counted in the slices of each axis", () => {
  const values = new Uint8Array(2 * 3 * 4);
  values[1 + 2 * (2 + 3 * 1)] = 4; // x 1, y 2, z 1
  values[1 + 2 * (0 + 3 * 1)] = 1; // x 1, y 0, z 1
  const [x, y, z] = slicesHolding(values, [2, 3, 4], membership([1, 2, 4]));
  assert.deepEqual([[...x], [...y], [...z]], [[0, 2], [1, 0, 1], [0, 2, 0, 0]]);
});

test("next and previous tumour slice skip the empty ones and go round", () => {
  const counts = [0, 3, 0, 0, 5, 0];
  assert.equal(nextHolding(counts, 1, 1), 4);
  assert.equal(nextHolding(counts, 4, 1), 1);
  assert.equal(nextHolding(counts, 1, -1), 4);
  assert.equal(nextHolding(counts, 3, -1), 1);
  assert.equal(nextHolding([0, 0], 0, 1), -1);
});

test("the largest slice is the first of the fullest; none without tumour", () => {
  assert.equal(largest([0, 2, 7, 7, 1]), 2);
  assert.equal(largest([0, 0]), -1);
});

test("the heart of a ring lies on the ring, not in its hole", () => {
  const values = Uint8Array.of(1, 1, 1, 1, 0, 1, 1, 1, 1);
  const [column, row] = heart(values, walk(3, 3), membership([1]));
  assert.equal(values[row * 3 + column], 1);
  assert.equal(heart(new Uint8Array(9), walk(3, 3), membership([1])), null);
});

test("the read-out gives the scanner's own value back", () => {
  const volume = { values: Int16Array.of(0, 7, 8, 9), header: { scale: 0.5, offset: -1 } };
  assert.equal(valueAt(volume, [2, 2, 1], [1, 1, 0]), 3.5);
});

test("the scale bar is the longest round length that fits", () => {
  assert.equal(scaleBarMm(2, 150), 50);
  assert.equal(scaleBarMm(0.1, 10), 100);
  assert.equal(scaleBarMm(400, 150), 1);
});

test("one notch of a wheel is one slice, upwards towards the head", () => {
  const wheel = new WheelSteps();
  const notch = (deltaY, deltaMode = 0) => wheel.take({ deltaY, deltaX: 0, deltaMode, timeStamp: 0 });
  assert.deepEqual([notch(100), notch(-120), notch(3, 1), notch(360)], [-1, 1, -1, -3]);
});

test("a track pad's small steps add up, and the first one answers at once", () => {
  const wheel = new WheelSteps();
  let moved = 0;
  for (let n = 0; n < 25; n++) moved += wheel.take({ deltaY: 4, deltaX: 0, deltaMode: 0, timeStamp: n * 16 });
  assert.equal(moved, -5); // 1 at once, then 96 px at 24 px a slice
  assert.equal(wheel.take({ deltaY: -4, deltaX: 0, deltaMode: 0, timeStamp: 400 }), 1); // turns at once
});

test("uncertainty is greatest where a probability is one half and takes the worst region", () => {
  const [low, half, sure] = uncertainty([Uint8Array.of(0, 0, 255), Uint8Array.of(51, 128, 255)]);
  assert.deepEqual([low, half, sure], [102, 254, 0]);
});

test("a map leaves what is near zero untouched", () => {
  const table = mapTable("probability");
  assert.equal(table[0], 0);
  assert.equal(table[255] >>> 24, 255);
});

test("two masks are told apart by what lies only in the one, only in the other, and in both", () => {
  const { values, counts } = difference(Uint8Array.of(0, 1, 0, 4, 2), Uint8Array.of(0, 0, 4, 1, 0), membership([1, 4]));
  assert.deepEqual([...values], [0, 1, 2, 3, 0]); // 2 is switched off
  assert.deepEqual(counts, [2, 1, 1, 1]);
});

test("a preset is another width of the scan's first window about another middle", () => {
  assert.deepEqual(presetWindow([100, 300], { width: 1, level: 0.5 }), [100, 300]);
  assert.deepEqual(presetWindow([100, 300], { width: 0.5, level: 0.5 }), [150, 250]);
  assert.deepEqual(presetWindow([100, 300], { width: 1.6, level: 0.8 }), [100, 420]);
});

test("a window is made wider and moved in widths of the first one, and is never inside out", () => {
  assert.deepEqual(windowAround([100, 200], [0, 200], 0.1, 0), [90, 210]);
  assert.deepEqual(windowAround([100, 200], [0, 200], 0, -0.1), [80, 180]);
  const [low, high] = windowAround([100, 200], [0, 300], -5, 0);
  assert.deepEqual([low, high], [149.5, 150.5]);
});

test("the tumour's window runs over its own greys but the outermost ones, in the scan's units", () => {
  const labels = new Uint8Array(120).fill(4, 0, 101);
  const values = Int16Array.from({ length: 120 }, (_, n) => (n < 101 ? n - 50 : 9999)); // -50 .. 50 in the tumour
  const volume = { values, header: { scale: 2, offset: 10 } };
  assert.deepEqual(tumourWindow(volume, labels, membership([1, 2, 4])), [-86, 106]); // 2 * -48 + 10, 2 * 48 + 10
  assert.equal(tumourWindow(volume, labels, membership([1])), null);
});
