// Planes of the RAS+ voxel grid, and how they lie on the screen.

export const AXES = { x: 0, y: 1, z: 2 };

// u runs across the screen, v upwards, w through it; each is an axis of the RAS+ grid.
export const PLANES = {
  axial: { title: "Axial", u: 0, v: 1, w: 2 },
  coronal: { title: "Coronal", u: 0, v: 2, w: 1 },
  sagittal: { title: "Sagittal", u: 1, v: 2, w: 0 },
};

const POSITIVE = "RAS";
const NEGATIVE = "LPI";
const OBLIQUE_SHARE = 0.5; // a second letter from about 27 degrees, as on a scanner's console

// Whether the screen's columns run against the grid's u axis. Radiological: the patient's right on
// the screen's left. Sagittal: the nose on the left in both conventions.
export function isMirrored(plane, convention) {
  return plane === "sagittal" || convention === "radiological";
}

// The strided walk over one slice: voxel of column c and row r (from the top) lies at
// start + c * stepU + r * stepV of a volume whose x runs fastest.
export function sliceWalk(shape, plane, index, mirrored) {
  const { u, v, w } = PLANES[plane];
  const strides = [1, shape[0], shape[0] * shape[1]];
  const width = shape[u];
  const height = shape[v];
  return {
    width,
    height,
    start: index * strides[w] + (mirrored ? (width - 1) * strides[u] : 0) + (height - 1) * strides[v],
    stepU: mirrored ? -strides[u] : strides[u],
    stepV: -strides[v],
  };
}

// Column and row (from the top) of a voxel in its slice, and back.
export function toPixel(shape, plane, mirrored, voxel) {
  const { u, v } = PLANES[plane];
  return [mirrored ? shape[u] - 1 - voxel[u] : voxel[u], shape[v] - 1 - voxel[v]];
}

export function toVoxel(shape, plane, mirrored, pixel, index) {
  const { u, v, w } = PLANES[plane];
  const voxel = [0, 0, 0];
  voxel[u] = mirrored ? shape[u] - 1 - pixel[0] : pixel[0];
  voxel[v] = shape[v] - 1 - pixel[1];
  voxel[w] = index;
  return voxel;
}

// The patient's direction in which a grid axis grows: its own letter, which never repeats, and a
// second one where the grid lies well askew.
export function growsTowards(affine, axis, sign = 1) {
  const direction = [affine[0][axis], affine[1][axis], affine[2][axis]].map((d) => d * sign);
  const letter = (n) => (direction[n] >= 0 ? POSITIVE : NEGATIVE)[n];
  const others = [0, 1, 2].filter((n) => n !== axis).sort((a, b) => Math.abs(direction[b]) - Math.abs(direction[a]));
  const askew = Math.abs(direction[others[0]]) >= OBLIQUE_SHARE * Math.abs(direction[axis]);
  return letter(axis) + (askew ? letter(others[0]) : "");
}

export function edgeMarks(affine, plane, mirrored) {
  const { u, v } = PLANES[plane];
  const across = mirrored ? -1 : 1;
  return {
    left: growsTowards(affine, u, -across),
    right: growsTowards(affine, u, across),
    top: growsTowards(affine, v, 1),
    bottom: growsTowards(affine, v, -1),
  };
}

// Largest angle in degrees between a grid axis and the patient's axis it is named after.
export function obliqueness(affine) {
  const angles = [0, 1, 2].map((axis) => {
    const column = [affine[0][axis], affine[1][axis], affine[2][axis]];
    return Math.acos(Math.min(1, Math.abs(column[axis]) / Math.hypot(...column)));
  });
  return (Math.max(...angles) * 180) / Math.PI;
}

// First three components of affine * (voxel, 1).
export function transform(affine, voxel) {
  return [0, 1, 2].map(
    (n) => affine[n][0] * voxel[0] + affine[n][1] * voxel[1] + affine[n][2] * voxel[2] + affine[n][3],
  );
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

// Where a slice lies on a canvas: the tissue's box fills it, in true proportions.
// `view` is { zoom, panX, panY }; pan in lengths of `fit`, so that it holds in a pane of any size.
// `fit` is the pixels of a millimetre at zoom 1. Lengths in canvas pixels.
export function placement(grid, box, plane, mirrored, size, view) {
  const { u, v } = PLANES[plane];
  const [du, dv] = [grid.spacing[u], grid.spacing[v]];
  const extent = (axis) => box[axis][1] - box[axis][0] + 1;
  const margin = 0.94;
  const fit = margin * Math.min(size.width / (extent(u) * du), size.height / (extent(v) * dv));
  const pxPerMm = fit * view.zoom;
  const centre = [0, 1, 2].map((axis) => (box[axis][0] + box[axis][1]) / 2);
  const [column, row] = toPixel(grid.shape, plane, mirrored, centre);
  const scaleX = pxPerMm * du;
  const scaleY = pxPerMm * dv;
  return {
    fit,
    pxPerMm,
    scaleX,
    scaleY,
    left: size.width / 2 + view.panX * fit - (column + 0.5) * scaleX,
    top: size.height / 2 + view.panY * fit - (row + 0.5) * scaleY,
  };
}
