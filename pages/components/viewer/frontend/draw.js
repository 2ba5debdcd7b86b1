// Painting one pane: scan, overlay, cross-hair, marks. Lengths are canvas pixels unless named.

import { PLANES, edgeMarks, obliqueness, placement, sliceWalk, toPixel } from "./geometry.js";
import { outline, paint, scaleBarMm } from "./slicing.js";

const INK = "#e8eef2";
const QUIET = "#aebac2";
const CROSSHAIR = "rgba(140, 255, 160, 0.75)";
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

// A slice-sized canvas that is filled voxel by voxel, then scaled by the browser; filled again only
// when it would look different.
class SliceCanvas {
  constructor(inMemory) {
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: inMemory });
    this.image = null;
    this.held = [];
  }

  fill(values, walk, table) {
    const wanted = [values, table, walk.start, walk.stepU];
    if (wanted.every((part, n) => part === this.held[n])) return;
    this.held = wanted;
    if (!this.image || this.image.width !== walk.width || this.image.height !== walk.height) {
      this.canvas.width = walk.width;
      this.canvas.height = walk.height;
      this.image = this.context.createImageData(walk.width, walk.height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    paint(this.pixels, values, walk, table);
    this.context.putImageData(this.image, 0, 0);
  }
}

// What one pane keeps from picture to picture: a canvas per role, and the outlines.
export class PaneMemory {
  constructor(inMemory) {
    this.inMemory = inMemory;
    this.canvases = new Map();
    this.outlines = new Map();
  }

  canvas(role, values, walk, table) {
    if (!this.canvases.has(role)) this.canvases.set(role, new SliceCanvas(this.inMemory));
    const slice = this.canvases.get(role);
    slice.fill(values, walk, table);
    return slice.canvas;
  }

  outline(layer, values, walk) {
    const held = this.outlines.get(layer.id);
    if (held && held.values === values && held.start === walk.start && held.stepU === walk.stepU && held.inside === layer.inside) {
      return held.runs;
    }
    const runs = outline(values, walk, layer.inside);
    this.outlines.set(layer.id, { values, start: walk.start, stepU: walk.stepU, inside: layer.inside, runs });
    return runs;
  }
}

// Everything that a picture of a pane depends on:
// { grid, box, plane, mirrored, index, view, title, shortTitle, scan: {volume, table}, blend: {volume, table,
//   amount} | null, map: {volume, table, opacity} | null, overlay: {volume, table, layers, style,
//   opacity} | null, difference: {volume, table, opacity} | null, second: {volume, layers} | null, cursor | null, smooth, marks, windowText }
export function drawPane(context, size, ratio, scene, memory) {
  const place = placement(scene.grid, scene.box, scene.plane, scene.mirrored, size, scene.view);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#000";
  context.fillRect(0, 0, size.width, size.height);
  const walk = sliceWalk(scene.grid.shape, scene.plane, scene.index, scene.mirrored);
  const put = (role, { volume, table }, alpha, smooth) => {
    if (!volume) return;
    const slice = memory.canvas(role, volume.values, walk, table);
    context.globalAlpha = alpha;
    context.imageSmoothingEnabled = smooth;
    context.drawImage(slice, place.left, place.top, walk.width * place.scaleX, walk.height * place.scaleY);
    context.globalAlpha = 1;
  };
  put("scan", scene.scan, 1, scene.smooth);
  if (scene.blend) put("blend", scene.blend, scene.blend.amount, scene.smooth);
  if (scene.map) put("map", scene.map, scene.map.opacity, scene.smooth);
  if (scene.difference) {
    put("difference", scene.difference, scene.difference.opacity, false);
  } else if (scene.overlay) {
    if (scene.overlay.style !== "outline") put("fill", scene.overlay, scene.overlay.opacity, false);
    if (scene.overlay.style !== "fill") drawOutlines(context, ratio, scene.overlay, walk, place, memory);
  }
  if (scene.second) {
    context.setLineDash([4 * ratio, 3 * ratio]);
    drawOutlines(context, ratio, scene.second, walk, place, memory);
    context.setLineDash([]);
  }
  if (scene.cursor) drawCrosshair(context, size, ratio, scene, place);
  if (scene.marks) drawMarks(context, size, ratio, scene, place);
  return place;
}

function drawOutlines(context, ratio, overlay, walk, place, memory) {
  context.lineWidth = Math.max(1, 1.5 * ratio);
  context.lineCap = context.getLineDash().length ? "butt" : "square";
  for (const layer of overlay.layers) {
    if (!layer.on) continue;
    const runs = memory.outline(layer, overlay.volume.values, walk);
    if (!runs.length) continue;
    context.strokeStyle = layer.colour;
    context.beginPath();
    for (let n = 0; n < runs.length; n += 5) {
      // half a line inwards: where two labels meet, both outlines stay visible
      const shift = (runs[n + 4] * context.lineWidth) / 2;
      const upright = runs[n] === runs[n + 2];
      const x = place.left + (upright ? shift : 0);
      const y = place.top + (upright ? 0 : shift);
      context.moveTo(x + runs[n] * place.scaleX, y + runs[n + 1] * place.scaleY);
      context.lineTo(x + runs[n + 2] * place.scaleX, y + runs[n + 3] * place.scaleY);
    }
    context.stroke();
  }
}

function drawCrosshair(context, size, ratio, scene, place) {
  const [column, row] = toPixel(scene.grid.shape, scene.plane, scene.mirrored, scene.cursor);
  const x = Math.round(place.left + (column + 0.5) * place.scaleX) + 0.5;
  const y = Math.round(place.top + (row + 0.5) * place.scaleY) + 0.5;
  const gap = 9 * ratio; // what the cross-hair points at stays visible
  context.strokeStyle = CROSSHAIR;
  context.lineWidth = Math.max(1, Math.round(ratio));
  context.beginPath();
  for (const [x0, y0, x1, y1] of [
    [0, y, x - gap, y],
    [x + gap, y, size.width, y],
    [x, 0, x, y - gap],
    [x, y + gap, x, size.height],
  ]) {
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
  }
  context.stroke();
}

function drawMarks(context, size, ratio, scene, place) {
  const small = Math.round(12 * ratio);
  const pad = Math.round(8 * ratio);
  const text = (string, x, y, align, baseline, colour = INK, weight = 500, px = small) => {
    context.font = `${weight} ${px}px ${FONT}`;
    context.textAlign = align;
    context.textBaseline = baseline;
    context.lineWidth = 3 * ratio;
    context.lineJoin = "round";
    context.strokeStyle = "rgba(0, 0, 0, 0.75)"; // legible on bright tissue
    context.strokeText(string, x, y);
    context.fillStyle = colour;
    context.fillText(string, x, y);
  };
  const { width, height } = size;
  const edges = edgeMarks(scene.grid.affine, scene.plane, scene.mirrored);
  const letter = Math.round(15 * ratio);
  text(edges.left, pad, height / 2, "left", "middle", INK, 700, letter);
  text(edges.right, width - pad, height / 2, "right", "middle", INK, 700, letter);
  text(edges.top, width / 2, pad, "center", "top", INK, 700, letter);
  text(edges.bottom, width / 2, height - pad, "center", "bottom", INK, 700, letter);

  const count = scene.grid.shape[PLANES[scene.plane].w];
  context.font = `600 ${small}px ${FONT}`;
  const fits = pad + context.measureText(scene.title).width < width / 2 - letter;
  text(fits ? scene.title : scene.shortTitle, pad, pad, "left", "top", INK, 600);
  text(`${scene.index + 1} / ${count}`, width - pad, pad, "right", "top");
  const line = Math.round(16 * ratio);
  if (width > 300 * ratio) {
    const askew = obliqueness(scene.grid.affine);
    if (askew > 1) text(`oblique ${Math.round(askew)}°`, pad, pad + line, "left", "top", QUIET, 400);
    text(scene.windowText, width - pad, height - pad, "right", "bottom", QUIET, 400);
    text(`${Math.round(scene.view.zoom * 100)} %`, width - pad, height - pad - line, "right", "bottom", QUIET, 400);
  }
  drawScaleBar(context, size, ratio, place, text, pad);
}

function drawScaleBar(context, size, ratio, place, text, pad) {
  const mm = scaleBarMm(place.pxPerMm, size.width / 4);
  const length = mm * place.pxPerMm;
  const y = Math.round(size.height - pad - 2 * ratio);
  const tick = 5 * ratio;
  for (const [colour, thickness] of [["rgba(0, 0, 0, 0.75)", 4], [INK, 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = thickness * ratio;
    context.lineCap = "butt";
    context.beginPath();
    context.moveTo(pad, y - tick);
    context.lineTo(pad, y);
    context.lineTo(pad + length, y);
    context.lineTo(pad + length, y - tick);
    context.stroke();
  }
  const label = mm >= 10 ? `${mm / 10} cm` : `${mm} mm`;
  text(label, pad, y - tick - 2 * ratio, "left", "bottom", INK, 500, Math.round(11 * ratio));
}
