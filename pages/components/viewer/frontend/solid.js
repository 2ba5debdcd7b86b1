// The 3-D pane: surfaces of the brain and the tumour in WebGL 2. Loaded only when it is opened.

import { transform, clamp } from "./geometry.js";
import { element } from "./panel.js";
import { STEEPEST, VIEWS, camera, maskBox, maskField, surfaceOf, tissueTable } from "./surface.js";

const BRAIN_STEP = 3; // voxels a block: the brain is a backdrop, the tumour is not
const FINE_CELLS = 600_000; // a larger tumour is drawn in blocks of two voxels
const BRAIN = { colour: [0.93, 0.92, 0.9], alpha: 0.34 };
const ALPHAS = [0.38, 0.7, 1]; // the outermost surface lets the inner ones show through
const START = { yaw: 0.6, pitch: 0.25, zoom: 1 };
const CROSSHAIR = [0.55, 1, 0.63];
const LETTER_PX = 12; // a direction's letter stays this far inside the pane
const COARSE = 0.5; // of the pixels, while a head without a graphics card turns
const REST_MS = 200; // after which it is drawn finely
const LOST = "The graphics card has dropped the 3-D view. It comes back by itself; if not, reload the page.";

const VERTEX = `#version 300 es
in vec3 position; in vec3 normal;
uniform vec3 centre, right, up, eye; uniform vec2 scale; uniform float depth;
out vec3 facing;
void main() {
  vec3 p = position - centre;
  gl_Position = vec4(dot(p, right) * scale.x, dot(p, up) * scale.y, -dot(p, eye) / depth, 1.0);
  facing = normal;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 facing; uniform vec3 eye, up, colour; uniform float alpha, lit;
out vec4 ink;
void main() {
  vec3 n = normalize(facing);
  float head = max(dot(n, eye), 0.0);
  float light = mix(1.0, 0.25 + 0.6 * head + 0.15 * max(dot(n, up), 0.0), lit);
  float edge = mix(1.0, mix(2.2, 0.4, head), lit * step(alpha, 0.99));
  ink = vec4(colour * light, 1.0) * clamp(alpha * edge, 0.0, 1.0);
}`;

export class Solid {
  // `software`: whether the processor does the graphics card's work.
  constructor(software) {
    this.software = software;
    this.scene = null; // see Viewer.solidScene
    this.turn = { ...START };
    this.surfaces = new Map(); // id -> { of, buffers, count, size }
    this.canvas = element("canvas", { tabindex: "0", role: "img", "aria-label": "3-D view of brain and tumour. Arrow keys turn it, plus and minus zoom." });
    this.letters = Object.fromEntries([..."RLAPSI"].map((letter) => [letter, element("span", { "aria-hidden": "true" }, letter)]));
    const buttons = Object.entries(VIEWS).map(([name, { hint, yaw, pitch }]) =>
      element("button", { type: "button", title: hint, "aria-label": hint, onclick: () => this.look({ yaw, pitch }) }, name),
    );
    this.message = element("p", { class: "message", role: "alert", hidden: true }, LOST);
    this.node = element(
      "div",
      { class: "pane solid" },
      this.canvas,
      ...Object.values(this.letters),
      element("div", { class: "views", role: "group", "aria-label": "Look from" }, ...buttons),
      this.message,
    );
    this.gl = this.canvas.getContext("webgl2", { antialias: !software, premultipliedAlpha: true });
    this.program = this.link();
    this.listen();
  }

  link() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "position");
    gl.bindAttribLocation(program, 1, "normal");
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(`3-D: ${gl.getProgramInfoLog(program)}`);
    const names = ["centre", "right", "up", "eye", "scale", "depth", "colour", "alpha", "lit"];
    this.uniforms = Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
    return program;
  }

  listen() {
    const { canvas } = this;
    const held = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, [event.clientX, event.clientY]);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) return;
      held.set(event.pointerId, [event.clientX, event.clientY]);
      const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
      if (held.size === 1) this.rotate(dx * 0.01, dy * 0.01);
      else this.zoom(Math.exp(-dy * 0.005));
    });
    canvas.addEventListener("webglcontextlost", (event) => this.lose(event));
    canvas.addEventListener("webglcontextrestored", () => this.restore());
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => held.delete(event.pointerId));
    canvas.addEventListener("dblclick", () => this.look(START));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.002));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
      const zoom = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
      if (event.ctrlKey || event.metaKey || event.altKey || !(step || zoom)) return;
      event.preventDefault();
      event.stopPropagation();
      if (step) this.rotate(...step);
      else this.zoom(zoom);
    });
  }

  look(turn) {
    Object.assign(this.turn, turn);
    this.turned = true;
    this.frameRequest ??= requestAnimationFrame(() => {
      this.frameRequest = null;
      this.draw(this.software ? COARSE : 1);
    });
    if (this.software) this.drawAtRest();
  }

  rotate(dx, dy) {
    this.look({ yaw: this.turn.yaw - dx, pitch: clamp(this.turn.pitch + dy, -STEEPEST, STEEPEST) });
  }

  zoom(factor) {
    this.look({ zoom: clamp(this.turn.zoom * factor, 0.5, 8) });
  }

  // With every picture of the planes. Where the processor draws, the planes come first: the surfaces
  // follow when the reader rests.
  show(scene) {
    this.scene = scene;
    if (this.software && this.canvas.dataset.triangles) this.drawAtRest();
    else this.draw();
  }

  drawAtRest() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.draw(), REST_MS);
  }

  lose(event) {
    if (this.gone) return;
    event.preventDefault(); // the promise to restore it
    this.lost = true;
    this.message.hidden = false;
  }

  // Everything the card held is gone with the old context.
  restore() {
    this.surfaces.clear();
    this.lines = null;
    this.program = this.link();
    this.lost = false;
    this.message.hidden = true;
    this.draw();
  }

  // The surface of a mask, made once and kept until the volume or the mask is another.
  surface(id, volume, table, { step, likely } = {}) {
    const known = this.surfaces.get(id);
    if (known?.values === volume.values && known.table === table && Boolean(likely) === known.exact) return known;
    this.release(known);
    const { shape, affine } = this.scene.grid;
    const box = maskBox(volume.values, shape, table);
    const made = { values: volume.values, table, exact: Boolean(likely), count: 0, size: 0 };
    this.surfaces.set(id, made);
    if (!box) return made;
    made.box = box;
    made.size = box.reduce((product, [low, high]) => product * (high - low + 1), 1);
    const field = maskField(volume.values, shape, table, box, step ?? (made.size > FINE_CELLS ? 2 : 1), likely);
    const mesh = surfaceOf(field, affine);
    made.buffers = [this.buffer(mesh.positions), this.buffer(mesh.normals), this.buffer(mesh.indices, this.gl.ELEMENT_ARRAY_BUFFER)];
    made.count = mesh.indices.length;
    return made;
  }

  buffer(array, target = this.gl.ARRAY_BUFFER) {
    const { gl } = this;
    const buffer = gl.createBuffer();
    gl.bindBuffer(target, buffer);
    gl.bufferData(target, array, gl.STATIC_DRAW);
    return buffer;
  }

  release(surface) {
    for (const buffer of surface?.buffers ?? []) this.gl.deleteBuffer(buffer);
  }

  destroy() {
    this.gone = true;
    clearTimeout(this.resting);
    cancelAnimationFrame(this.frameRequest);
    this.surfaces.forEach((surface) => this.release(surface));
    this.surfaces.clear();
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  brain(scan) {
    if (this.tissueOf !== scan.values) {
      this.tissueOf = scan.values;
      this.tissue = tissueTable(scan.header, scan.values[0]);
    }
    return this.surface("brain", scan, this.tissue, { step: BRAIN_STEP });
  }

  // The scene's scan gives the brain, its overlay the tumour's layers; either may be missing.
  // `fineness` is the share of the screen's pixels.
  draw(fineness = 1) {
    if (this.lost || this.gone || !this.scene) return;
    const { gl, canvas } = this;
    const { scan, overlay, cursor } = this.scene;
    const ratio = this.scene.ratio * fineness;
    const size = canvas.getBoundingClientRect();
    const [width, height] = [Math.round(size.width * ratio), Math.round(size.height * ratio)];
    if (width < 2 || height < 2) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!scan) return;
    const brain = this.brain(scan);
    if (!brain.count) return;
    if (cursor && !this.turned) this.faceTumour(brain, cursor);
    const view = this.frame(brain, width, height);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.CULL_FACE);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const layers = (overlay?.layers ?? [])
      .filter((layer) => layer.on)
      .map((layer) => ({ layer, surface: this.surface(layer.id, overlay.volume, layer.inside, { likely: likelihood(layer, this.scene) }) }))
      .sort((a, b) => a.surface.size - b.surface.size);
    const alphas = ALPHAS.slice(ALPHAS.length - layers.length).reverse();
    if (cursor) this.drawCrosshair(brain, cursor);
    layers.forEach(({ layer, surface }, n) => this.drawSurface(surface, rgb(layer.colour), layers.length > 1 ? alphas[n] ?? ALPHAS[0] : 1));
    this.drawSurface(brain, BRAIN.colour, BRAIN.alpha);
    this.placeLetters(view, width / ratio, height / ratio);
    canvas.dataset.triangles = brain.count / 3 + layers.reduce((sum, { surface }) => sum + surface.count / 3, 0);
  }

  // Begin on the side where the reader looks.
  faceTumour(brain, cursor) {
    this.turned = true;
    if (cursor[0] < (brain.box[0][0] + brain.box[0][1]) / 2) this.turn.yaw = -START.yaw;
  }

  frame(brain, width, height) {
    const { gl, uniforms, turn } = this;
    const { affine, spacing } = this.scene.grid;
    const radius = Math.hypot(...brain.box.map(([low, high], axis) => (high - low + 1) * spacing[axis])) / 2;
    const centre = transform(affine, brain.box.map(([low, high]) => (low + high) / 2));
    const scale = (turn.zoom * 1.45) / radius;
    const aspect = width / height;
    const view = { ...camera(turn.yaw, turn.pitch), centre, radius };
    view.scale = aspect > 1 ? [scale / aspect, scale] : [scale, scale * aspect];
    gl.useProgram(this.program);
    for (const name of ["centre", "right", "up", "eye"]) gl.uniform3fv(uniforms[name], view[name]);
    gl.uniform2fv(uniforms.scale, view.scale);
    gl.uniform1f(uniforms.depth, 2 * radius);
    return view;
  }

  drawSurface(surface, colour, alpha) {
    const { gl, uniforms } = this;
    if (!surface.count) return;
    gl.depthMask(alpha === 1);
    gl.uniform3fv(uniforms.colour, colour);
    gl.uniform1f(uniforms.alpha, alpha);
    gl.uniform1f(uniforms.lit, 1);
    surface.buffers.slice(0, 2).forEach((buffer, n) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(n);
      gl.vertexAttribPointer(n, 3, gl.FLOAT, false, 0, 0);
    });
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, surface.buffers[2]);
    gl.drawElements(gl.TRIANGLES, surface.count, gl.UNSIGNED_INT, 0);
    gl.depthMask(true);
  }

  drawCrosshair(brain, cursor) {
    const { gl, uniforms } = this;
    const { affine } = this.scene.grid;
    const ends = [0, 1, 2].flatMap((axis) =>
      brain.box[axis].map((end) => transform(affine, cursor.map((n, a) => (a === axis ? end : n)))),
    );
    this.lines ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lines);
    gl.bufferData(gl.ARRAY_BUFFER, Float32Array.from(ends.flat()), gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
    gl.disableVertexAttribArray(1);
    gl.vertexAttrib3f(1, 0, 0, 1);
    gl.uniform3fv(uniforms.colour, CROSSHAIR);
    gl.uniform1f(uniforms.alpha, 1);
    gl.uniform1f(uniforms.lit, 0);
    gl.drawArrays(gl.LINES, 0, 6);
  }

  // The patient's directions around the head; those behind it are fainter.
  placeLetters(view, width, height) {
    const shown = this.scene.marks;
    for (const [letter, span] of Object.entries(this.letters)) {
      const axis = "RAS".indexOf(letter) >= 0 ? "RAS".indexOf(letter) : "LPI".indexOf(letter);
      const sign = "RAS".includes(letter) ? 1 : -1;
      const reach = 0.72 * view.radius * sign;
      span.hidden = !shown;
      const x = (width / 2) * (1 + view.right[axis] * reach * view.scale[0]);
      const y = (height / 2) * (1 - view.up[axis] * reach * view.scale[1]);
      span.style.left = `${clamp(x, LETTER_PX, width - LETTER_PX)}px`;
      span.style.top = `${clamp(y, LETTER_PX, height - LETTER_PX)}px`;
      span.style.opacity = view.eye[axis] * sign < -0.2 ? 0.4 : 1;
    }
  }
}

// A voxel's probability of belonging to a layer's labels. The regions are nested, so a label's own
// probability is its region's less that of the next one inside; null until they have all arrived.
function likelihood(layer, { regions, probabilities }) {
  if (probabilities.includes(null)) return null;
  const weights = regions.map(({ members }, n) => {
    const own = members.find((label) => !regions[n + 1]?.members.includes(label));
    const outer = regions[n - 1]?.members.find((label) => !members.includes(label));
    return Number(layer.members.includes(own)) - Number(layer.members.includes(outer));
  });
  const terms = weights.map((weight, n) => [weight / 255, probabilities[n].values]).filter(([weight]) => weight);
  return (at) => terms.reduce((sum, [weight, values]) => sum + weight * values[at], 0);
}

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
}
