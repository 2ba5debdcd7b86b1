// The viewer: owns the settings, the panes and the panel, and says what each verb means.

import { PLANES, clamp, edgeMarks, isMirrored, placement, sliceWalk, toPixel, toVoxel, transform } from "./geometry.js";
import { PaneMemory, drawPane } from "./draw.js";
import { probe } from "./graphics.js";
import { handleKey, listenToPane } from "./interaction.js";
import { mapTable, gradient, uncertainty } from "./maps.js";
import { Panel, element } from "./panel.js";
import { writeLegend, writeLetters } from "./picture.js";
import { labelText, position, tidy } from "./reading.js";
import { CINE_RANGE, LAYOUTS, PRESETS, neutralView, settingsFor, startComparison, startStudy } from "./settings.js";
import { difference, fillTable, greyTable, heart, largest, membership, nextHolding, presetWindow, slicesHolding, tumourWindow, valueAt, windowAround } from "./slicing.js";
import { GoneError, keepOnly, load, loaded, watchUnseen } from "./volumes.js";

const SETTLED_MS = 1500; // a rest this long, or leaving the viewer, reports the view to the page
const SPOKEN_MS = 700;
const ZOOM_RANGE = [0.5, 16];
const OVERLAY_STYLES = ["fill", "outline", "both"];

let graphics = null; // what `probe` found; null until it has been asked
const viewers = new Map(); // mounted root -> Viewer
const sheets = new Map(); // address of a style sheet -> promise of it

// Called by the loader on mounting, and again whenever the page's data change.
export function show(component, base) {
  const root = component.parentElement;
  if (!viewers.has(root)) viewers.set(root, new Viewer(root, base));
  watchUnseen(false);
  viewers.get(root).update(component);
}

export function close(root) {
  viewers.get(root)?.destroy();
  viewers.delete(root);
  if (!viewers.size) watchUnseen(true);
}

function styleSheet(url) {
  if (!sheets.has(url)) {
    const sheet = fetch(url).then((r) => r.text()).then((text) => new CSSStyleSheet().replace(text));
    sheets.set(url, sheet);
  }
  return sheets.get(url);
}

class Viewer {
  constructor(root, base) {
    this.root = root;
    this.base = base;
    this.panes = [];
    this.tables = new Map(); // grey table per scan, with the window it was made for
    this.ratio = window.devicePixelRatio || 1;
    this.stop = new AbortController();
    this.panel = new Panel(this);
    this.stage = element("div", { class: "stage" });
    const loading = element("p", { class: "loading" }, "Loading the scans…");
    this.message = element("p", { class: "message", role: "alert", hidden: true });
    this.spoken = element("p", { class: "spoken", "aria-live": "polite" });
    const body = element("div", { class: "body" }, element("div", { class: "screen" }, this.stage, loading, this.message, this.panel.help), this.panel.side);
    this.frame = element("div", { class: "viewer", role: "region", "aria-label": "Image viewer" }, this.panel.toolbar, body, this.spoken);
    this.frame.hidden = true; // until its style is there
    root.append(this.frame);
    styleSheet(new URL("viewer.css", import.meta.url).href).then((sheet) => {
      root.adoptedStyleSheets = [sheet];
      this.frame.hidden = false;
    });
    this.listen();
  }

  listen() {
    const { signal } = this.stop;
    this.frame.addEventListener("keydown", (event) => handleKey(this, event), { signal });
    // keys work over the images without a click first, unless something else has the focus
    document.addEventListener(
      "keydown",
      (event) => this.hovered && document.activeElement === document.body && handleKey(this, event),
      { signal, capture: true },
    );
    this.frame.addEventListener("pointerenter", () => (this.hovered = true), { signal });
    this.frame.addEventListener("pointerleave", () => {
      this.hovered = false;
      this.settle(200);
    }, { signal });
    this.frame.addEventListener("focusout", (event) => this.frame.contains(event.relatedTarget) || this.settle(200), { signal });
    this.resizing = new ResizeObserver(() => this.redraw());
  }

  destroy() {
    this.stopCine();
    this.stop.abort();
    this.resizing.disconnect();
    this.solid?.destroy();
    clearTimeout(this.settling);
    clearTimeout(this.speaking);
    cancelAnimationFrame(this.frameRequest);
    this.frame.remove();
    this.gone = true;
  }

  // ---- data -------------------------------------------------------------------------------------

  update({ data: { view: text }, setStateValue }) {
    this.setStateValue = setStateValue;
    if (text === this.dataText) return;
    const data = JSON.parse(text);
    const parts = (d) => JSON.stringify([d?.scans, d?.segmentation, d?.comparison, d?.grid]);
    const sameStudy = parts(this.data) === parts(data);
    this.dataText = text;
    this.data = data;
    this.settings = settingsFor(data.key);
    if (!sameStudy) this.open(data);
    this.followRequest(data.lookAt);
    this.refresh();
  }

  open(data) {
    const beside = data.comparison?.beside;
    this.sources = beside ? [...data.scans, beside] : data.scans; // what a pane can show
    startStudy(this.settings, data.scans[0].token, data.grid);
    startComparison(this.settings, data.comparison, data.scans.length);
    if (!this.settings.lookedAround) this.settings.cursor = [...data.start];
    const probabilities = data.segmentation?.probabilities.map((p) => p.token) ?? [];
    const tokens = [...data.scans.map((s) => s.token), data.segmentation?.token, data.comparison?.token, beside?.token, ...probabilities].filter(Boolean);
    const others = [...viewers.values()].filter((v) => v !== this && v.data);
    keepOnly([...tokens, ...others.flatMap((v) => v.tokens)]);
    this.tokens = tokens;
    this.counts = null;
    this.insides = null;
    this.derived = null;
    this.compared = null;
    this.message.hidden = true;
    this.panel.build(data);
    this.loadAll(data, probabilities);
  }

  // What is looked at first comes first; everything is drawn as it arrives.
  async loadAll(data, probabilities) {
    const url = this.base + data.volumes;
    const fetchOne = (token) => load(url, token).then(() => !this.gone && this.data.scans[0].token === data.scans[0].token && this.arrived());
    const first = data.scans[this.settings.modality].token;
    try {
      if (data.segmentation) this.waiting = load(url, data.segmentation.token);
      await Promise.all([this.waiting, load(url, first)]);
      this.waiting = null;
      this.arrived();
      if (data.comparison) await fetchOne(data.comparison.token);
      if (data.comparison?.beside) await fetchOne(data.comparison.beside.token);
      await Promise.all(data.scans.map((scan) => fetchOne(scan.token)));
      await Promise.all(probabilities.map(fetchOne));
    } catch (error) {
      this.waiting = null;
      if (!this.gone) this.complain(error);
    }
  }

  arrived() {
    const { settings, data } = this;
    const scan = loaded(data.scans[settings.modality].token) ?? data.scans.map((s) => loaded(s.token)).find(Boolean);
    if (scan?.header.box && !settings.boxIsTissue) {
      settings.box = scan.header.box;
      settings.boxIsTissue = true;
    }
    const labels = this.labels();
    if (labels && !this.counts) {
      const anyLabel = membership(data.segmentation.labels.flatMap((layer) => layer.members));
      this.counts = slicesHolding(labels.values, data.grid.shape, anyLabel);
      for (const pane of this.panes) this.drawStrip(pane);
    }
    this.refresh();
  }

  complain(error) {
    const advice = error instanceof GoneError ? "Open it again to look at it." : "Reload the page to try again.";
    this.message.textContent = `${error?.message ?? error} ${advice}`;
    this.message.hidden = false;
  }

  followRequest(lookAt) {
    if (!lookAt || this.settings.lookAt === lookAt.request) return;
    this.settings.lookAt = lookAt.request;
    this.settings.lookedAround = true;
    this.settings.cursor = [...lookAt.voxel];
    if (lookAt.plane) {
      this.settings.plane = lookAt.plane;
      if (LAYOUTS[this.settings.layout].panes?.length === 1) this.settings.layout = lookAt.plane;
    }
  }

  labels() {
    return this.data.segmentation ? loaded(this.data.segmentation.token) : null;
  }

  // ---- what is shown ----------------------------------------------------------------------------

  // The legend's lines, as they are drawn: from the outside in.
  layers() {
    const { settings, data } = this;
    this.insides ??= new Map();
    return (data.segmentation?.[settings.scheme] ?? []).map((layer) => {
      const id = `${settings.scheme}/${layer.id}`;
      if (!this.insides.has(id)) this.insides.set(id, membership(layer.members));
      const colour = settings.colours[id] ?? layer.colour;
      return { ...layer, id, colour, inside: this.insides.get(id), on: !settings.off[id] };
    });
  }

  greys(n) {
    const volume = loaded(this.sources[n].token);
    if (!volume) return { volume: null, table: null };
    const range = this.windowOf(n);
    const known = this.tables.get(n);
    if (known?.volume === volume && known.range[0] === range[0] && known.range[1] === range[1]) return known;
    const made = { volume, range, table: greyTable(volume.header, range) };
    this.tables.set(n, made);
    return made;
  }

  windowOf(n) {
    return this.settings.windows[n] ?? loaded(this.sources[n].token)?.header.window ?? [0, 1];
  }

  overlay() {
    const volume = this.labels();
    const { settings } = this;
    if (!volume || !settings.overlay) return null;
    const layers = this.layers();
    const signature = layers.map((l) => `${l.id}${l.on}${l.colour}`).join();
    if (this.fillSignature !== signature) {
      this.fillSignature = signature;
      this.fill = fillTable(layers);
    }
    return { volume, table: this.fill, layers, style: settings.style, opacity: settings.opacity };
  }

  map() {
    const { region, opacity } = this.settings.map;
    if (!region || !this.data.segmentation) return null;
    const volumes = this.data.segmentation.probabilities.map((p) => loaded(p.token));
    if (volumes.includes(null)) return null;
    const name = region === "u0" ? "uncertainty" : "probability";
    this.mapTables ??= { uncertainty: mapTable("uncertainty"), probability: mapTable("probability") };
    if (region === "u0") this.derived ??= { header: {}, values: uncertainty(volumes.map((v) => v.values)) };
    const volume = region === "u0" ? this.derived : volumes[Number(region.slice(1))];
    return { volume, table: this.mapTables[name], opacity };
  }

  // The second mask: what is drawn dashed, or where it differs. Follows the legend's switches.
  comparison() {
    const { settings, data } = this;
    const other = data.comparison && loaded(data.comparison.token);
    const labels = this.labels();
    if (!other || !labels || settings.comparison === "off") return {};
    const members = [...new Set(this.layers().filter((layer) => layer.on).flatMap((layer) => layer.members))].sort();
    const signature = `${data.segmentation.token}${data.comparison.token}${members}`;
    if (this.compared?.signature !== signature) {
      const inside = membership(members);
      this.compared = { signature, inside, ...difference(labels.values, other.values, inside) };
      this.compared.volume = { header: {}, values: this.compared.values };
    }
    if (settings.comparison === "outline") {
      return { second: { volume: other, layers: [{ id: "second", on: true, colour: "#ffffff", inside: this.compared.inside }] } };
    }
    const shown = this.differences();
    const wanted = JSON.stringify(shown);
    if (this.differenceTable?.wanted !== wanted) {
      this.differenceTable = { wanted, table: fillTable(shown.map((part) => ({ ...part, members: [part.code] }))) };
    }
    return { difference: { volume: this.compared.volume, table: this.differenceTable.table, opacity: Math.max(settings.opacity, 0.5) } };
  }

  // The comparison's own legend: what is only in the one mask, only in the other, and in both.
  differences() {
    const { off } = this.settings;
    return (this.data.comparison?.differences ?? []).map((part) => ({ ...part, on: !off[`difference/${part.code}`] }));
  }

  isBeside(n) {
    return n >= this.data.scans.length;
  }

  // The earlier mask as the legend has it, on the earlier scan.
  overlayBeside() {
    const volume = loaded(this.data.comparison.token);
    const own = this.overlay();
    return own && volume && { ...own, volume };
  }

  scene(pane) {
    const { settings, data } = this;
    const n = pane.scan ?? settings.modality;
    const beside = this.isBeside(n);
    const { plane } = pane;
    const blend = beside ? null : settings.blend.scan;
    const { second, difference } = this.comparison();
    const [low, high] = this.windowOf(n);
    return {
      grid: data.grid,
      box: settings.box,
      plane,
      mirrored: isMirrored(plane, settings.convention),
      index: settings.cursor[PLANES[plane].w],
      view: settings.views[plane],
      shortTitle: this.sources[n].title,
      title: `${this.sources[n].title}${blend === null ? "" : ` + ${data.scans[blend].title}`}  ${PLANES[plane].title}`,
      windowText: `W ${tidy(high - low)}  L ${tidy((high + low) / 2)}`,
      scan: this.greys(n),
      blend: blend === null ? null : { ...this.greys(blend), amount: settings.blend.amount },
      map: beside ? null : this.map(),
      overlay: beside ? this.overlayBeside() : this.overlay(),
      difference,
      second: beside ? null : second,
      cursor: settings.crosshair ? settings.cursor : null,
      smooth: settings.smooth,
      marks: settings.marks,
    };
  }

  hasWebGl() {
    return graphics?.webGl === true;
  }

  // Asked only once the first image is there: without a GPU the answer takes its time.
  askForGraphics() {
    graphics ??= probe();
    if (graphics.webGl && graphics.software) this.arrangement = null; // new panes, see makePane
    this.refresh();
  }

  // Everything that the 3-D pane depends on but the direction it is looked at from.
  solidScene() {
    const { settings, data } = this;
    return {
      ratio: this.ratio,
      grid: data.grid,
      scan: data.scans.map((s) => loaded(s.token)).find(Boolean),
      overlay: this.overlay(),
      regions: data.segmentation?.regions ?? [],
      probabilities: (data.segmentation?.probabilities ?? []).map((p) => loaded(p.token)),
      cursor: settings.crosshair ? settings.cursor : null,
      marks: settings.marks,
    };
  }

  // ---- panes ------------------------------------------------------------------------------------

  arrange() {
    const { settings, data } = this;
    const { plane, layout } = settings;
    const scans = { beside: [data.scans.length, null], modalities: data.scans.map((_, scan) => scan) }[layout];
    const wanted = scans?.map((scan) => ({ plane, scan })) ?? LAYOUTS[layout].panes.map((own) => ({ plane: own, scan: null }));
    const signature = JSON.stringify([settings.layout, wanted]);
    if (signature === this.arrangement) return;
    this.arrangement = signature;
    const hadFocus = this.panes.some((pane) => pane.canvas === this.root.activeElement);
    this.resizing.disconnect();
    this.panesStop?.abort();
    this.panesStop = new AbortController();
    this.panes = wanted.map((pane) => this.makePane(pane));
    this.stage.className = `stage ${settings.layout}`;
    const solid = settings.layout === "solid" ? this.openSolid() : [];
    this.stage.replaceChildren(...solid, ...this.panes.map((pane) => pane.node));
    for (const pane of this.panes) this.resizing.observe(pane.canvas);
    if (hadFocus) this.currentPane()?.canvas.focus({ preventScroll: true });
  }

  // The 3-D pane, once its code is there.
  openSolid() {
    if (this.solid) {
      this.resizing.observe(this.solid.canvas);
      return [this.solid.node];
    }
    import("./solid.js").then(({ Solid }) => {
      if (this.gone || this.solid) return;
      this.solid = new Solid(graphics.software);
      this.arrangement = null;
      this.refresh();
    }).catch((error) => this.complain(error));
    return [element("div", { class: "pane solid" })];
  }

  makePane({ plane, scan }) {
    const canvas = element("canvas", { tabindex: "0", role: "img", "aria-label": `${PLANES[plane].title} image` });
    const count = this.sliceCount(plane);
    const slider = element("input", { type: "range", min: 0, max: count - 1, step: 1, "aria-label": `${PLANES[plane].title} slice` });
    const strip = element("canvas", { class: "strip", "aria-hidden": "true" });
    const node = element("div", { class: `pane ${plane}` }, canvas, element("div", { class: "slices" }, strip, slider));
    const inMemory = graphics?.webGl === true && graphics.software;
    const pane = { plane, scan, canvas, slider, strip, node, memory: new PaneMemory(inMemory) };
    // a page whose "graphics card" is the processor is drawn in half the time if its canvases do not
    // pretend to live on the card
    pane.context = canvas.getContext("2d", { alpha: false, willReadFrequently: inMemory });
    slider.addEventListener("input", () => {
      this.touched(pane);
      this.goToSlice(plane, Number(slider.value));
    });
    listenToPane(this, pane, this.panesStop.signal);
    return pane;
  }

  currentPane() {
    const { plane, modality } = this.settings;
    return this.panes.find((p) => p.plane === plane && (p.scan === null || p.scan === modality)) ?? this.panes[0];
  }

  refresh() {
    if (!this.data || this.gone) return;
    this.arrange();
    this.panel.refresh();
    this.frame.style.setProperty("--map", gradient(this.settings.map.region === "u0" ? "uncertainty" : "probability"));
    this.redraw();
  }

  redraw() {
    if (this.frameRequest || this.gone) return;
    this.frameRequest = requestAnimationFrame((now) => {
      this.frameRequest = null;
      if (this.data && !this.waiting) this.draw(now);
    });
  }

  draw() {
    for (const pane of this.panes) {
      if (!this.fit(pane)) continue;
      const scene = this.scene(pane);
      const { canvas } = pane;
      pane.place = drawPane(pane.context, { width: canvas.width, height: canvas.height }, this.ratio, scene, pane.memory);
      canvas.dataset.plane = pane.plane;
      canvas.dataset.slice = scene.index;
      canvas.dataset.place = JSON.stringify(pane.place);
      canvas.dataset.window = JSON.stringify(this.windowOf(pane.scan ?? this.settings.modality));
      if (!scene.scan.volume) continue;
      this.stage.dataset.drawn = "";
      canvas.dataset.scan = this.sources[pane.scan ?? this.settings.modality].id;
      if (Number(pane.slider.value) !== scene.index) pane.slider.value = scene.index;
    }
    if (this.settings.layout === "solid") this.solid?.show(this.solidScene());
    if (graphics === null && "drawn" in this.stage.dataset) setTimeout(() => this.gone || this.askForGraphics());
    this.panel.showDifferences(this.compared?.counts);
    this.readout();
    this.settle(SETTLED_MS);
    this.speakSoon();
  }

  // The canvas's own pixels follow the screen's; false while the pane is not laid out.
  fit(pane) {
    const { canvas } = pane;
    this.ratio = window.devicePixelRatio || 1;
    const box = canvas.getBoundingClientRect();
    const [width, height] = [Math.round(box.width * this.ratio), Math.round(box.height * this.ratio)];
    if (width < 2 || height < 2) return false;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      this.drawStrip(pane);
    }
    return true;
  }

  // Where tumour lies along the slider, taller the more of it.
  drawStrip(pane) {
    const { strip } = pane;
    const box = strip.getBoundingClientRect();
    strip.width = Math.max(1, Math.round(box.width * this.ratio));
    strip.height = Math.max(1, Math.round(box.height * this.ratio));
    if (!this.counts) return;
    const counts = this.counts[PLANES[pane.plane].w];
    const most = Math.max(...counts, 1);
    const context = strip.getContext("2d");
    context.fillStyle = getComputedStyle(strip).color;
    for (let x = 0; x < strip.width; x++) {
      const count = counts[Math.floor((x * counts.length) / strip.width)];
      const tall = count && Math.round((0.25 + 0.75 * Math.sqrt(count / most)) * strip.height);
      context.fillRect(x, strip.height - tall, 1, tall);
    }
  }

  // ---- reading ----------------------------------------------------------------------------------

  readout() {
    const { settings, data } = this;
    const { cursor } = settings;
    const { shape } = data.grid;
    const lines = [
      ["Voxel", transform(data.grid.toStudy, cursor).map(Math.round).join(", ")],
      ["Position, mm", position(transform(data.grid.affine, cursor))],
    ];
    for (const scan of data.scans) {
      const volume = loaded(scan.token);
      lines.push([scan.title, volume ? tidy(valueAt(volume, shape, cursor)) : "…"]);
    }
    if (data.segmentation) {
      lines.push(["Label", this.labelAt(cursor) ?? "…"]);
      const stored = this.probabilitiesAt(cursor);
      data.segmentation.probabilities.forEach((p, n) => {
        lines.push([`P(${p.title.toLowerCase()})`, stored ? `${Math.round((stored[n] / 255) * 100)} %` : "…"]);
      });
    }
    this.panel.readAt(lines);
  }

  labelAt(cursor) {
    const labels = this.labels();
    if (!labels) return null;
    return labelText(valueAt(labels, this.data.grid.shape, cursor), this.probabilitiesAt(cursor), this.data.segmentation);
  }

  // As stored, one a region; null until all have arrived.
  probabilitiesAt(cursor) {
    const volumes = this.data.segmentation.probabilities.map((p) => loaded(p.token));
    return volumes.includes(null) ? null : volumes.map((volume) => valueAt(volume, this.data.grid.shape, cursor));
  }

  speakSoon() {
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => {
      const { settings, data } = this;
      for (const pane of this.panes) {
        const index = settings.cursor[PLANES[pane.plane].w];
        const edges = edgeMarks(data.grid.affine, pane.plane, isMirrored(pane.plane, settings.convention));
        const name = `${this.sources[pane.scan ?? settings.modality].title}, ${PLANES[pane.plane].title.toLowerCase()} slice ${index + 1} of ${this.sliceCount(pane.plane)}`;
        pane.canvas.setAttribute("aria-label", `${name}; left edge ${edges.left}, top edge ${edges.top}. Press question mark for the keys.`);
        pane.slider.setAttribute("aria-valuetext", `${index + 1} of ${this.sliceCount(pane.plane)}`);
      }
      const current = this.currentPane();
      const at = settings.cursor[PLANES[current.plane].w] + 1;
      const label = this.labelAt(settings.cursor);
      const sentence = `${PLANES[current.plane].title} slice ${at}${label ? `, ${label}` : ""}`;
      if (this.spoken.textContent !== sentence) this.spoken.textContent = sentence;
    }, SPOKEN_MS);
  }

  // Tell the page once the reader rests; a report that says nothing new is not sent.
  settle(delay) {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      if (this.playing || this.gone || !this.data || !this.settings.touched) return;
      const { cursor, plane, modality } = this.settings;
      const view = { voxel: cursor, plane, modality: this.data.scans[modality].id };
      const text = JSON.stringify([this.settings.study, view]);
      if (text === this.settings.reported) return;
      this.settings.reported = text;
      this.setStateValue("view", view);
    }, delay);
  }

  // ---- verbs ------------------------------------------------------------------------------------

  // The reader has laid hands on this pane.
  touched(pane) {
    const { settings } = this;
    this.stopCine();
    settings.touched = true;
    settings.lookedAround = true;
    if (pane) {
      settings.plane = pane.plane;
      if (pane.scan !== null && !this.isBeside(pane.scan)) settings.modality = pane.scan;
    }
  }

  set(name, value) {
    this.settings[name] = value;
    this.refresh();
  }

  toggle(name) {
    this.set(name, !this.settings[name]);
  }

  sliceCount(plane) {
    return this.data.grid.shape[PLANES[plane].w];
  }

  goToSlice(plane, index) {
    const { w } = PLANES[plane];
    this.settings.cursor[w] = clamp(index, 0, this.sliceCount(plane) - 1);
    this.redraw();
  }

  scroll(plane, steps) {
    this.goToSlice(plane, this.settings.cursor[PLANES[plane].w] + steps);
  }

  step(steps) {
    const pane = this.currentPane();
    this.touched(pane);
    this.scroll(pane.plane, steps);
  }

  pointAt(pane, [x, y]) {
    if (!pane.place) return;
    const { shape } = this.data.grid;
    const { plane, place } = pane;
    const { settings } = this;
    const pixel = [Math.floor((x - place.left) / place.scaleX), Math.floor((y - place.top) / place.scaleY)];
    const voxel = toVoxel(shape, plane, isMirrored(plane, settings.convention), pixel, settings.cursor[PLANES[plane].w]);
    settings.cursor = voxel.map((n, axis) => clamp(n, 0, shape[axis] - 1));
    this.redraw();
  }

  // Move the cross-hair by one pixel on the screen.
  nudge(dx, dy) {
    const pane = this.currentPane();
    this.touched(pane);
    const { u, v } = PLANES[pane.plane];
    const { cursor, convention } = this.settings;
    const { shape } = this.data.grid;
    cursor[u] = clamp(cursor[u] + (isMirrored(pane.plane, convention) ? -dx : dx), 0, shape[u] - 1);
    cursor[v] = clamp(cursor[v] - dy, 0, shape[v] - 1);
    this.redraw();
  }

  toTumour(step) {
    if (!this.counts) return;
    const { plane } = this.currentPane();
    const { w } = PLANES[plane];
    const found = nextHolding(this.counts[w], this.settings.cursor[w], step);
    this.touched(this.currentPane());
    if (found >= 0) this.goToSlice(plane, found);
  }

  toLargest() {
    this.touched(this.currentPane());
    this.goToHeart(this.currentPane().plane);
  }

  goToHeart(plane) {
    if (!this.counts) return;
    const { shape } = this.data.grid;
    const index = largest(this.counts[PLANES[plane].w]);
    if (index < 0) return;
    const anyLabel = membership(this.data.segmentation.labels.flatMap((layer) => layer.members));
    const pixel = heart(this.labels().values, sliceWalk(shape, plane, index, false), anyLabel);
    this.settings.cursor = toVoxel(shape, plane, false, pixel, index);
    this.redraw();
  }

  showScan(n) {
    if (!this.data.scans[n]) return;
    this.set("modality", n);
    this.settings.touched = true;
  }

  setLayout(layout) {
    if (layout === "solid" && !this.hasWebGl()) return;
    if (layout === "beside" && !this.data.comparison?.beside) return;
    const { panes } = LAYOUTS[layout];
    if (panes?.length === 1) this.settings.plane = panes[0];
    this.settings.touched = true;
    this.set("layout", layout);
  }

  nextStyle() {
    this.set("style", OVERLAY_STYLES[(OVERLAY_STYLES.indexOf(this.settings.style) + 1) % OVERLAY_STYLES.length]);
  }

  addOpacity(change) {
    this.set("opacity", clamp(Math.round((this.settings.opacity + change) * 20) / 20, 0, 1));
  }

  showLayer(id, on) {
    this.set("off", { ...this.settings.off, [id]: !on });
  }

  colourLayer(id, colour) {
    this.set("colours", { ...this.settings.colours, [id]: colour });
  }

  nextConvention() {
    this.set("convention", this.settings.convention === "radiological" ? "neurological" : "radiological");
  }

  // By key: about the cross-hair, which is brought back if it lies outside the pane.
  zoomBy(factor) {
    const pane = this.currentPane();
    if (!pane.place) return;
    const { shape } = this.data.grid;
    const { cursor, convention, views } = this.settings;
    const { place, plane, canvas } = pane;
    const [column, row] = toPixel(shape, plane, isMirrored(plane, convention), cursor);
    const at = [place.left + (column + 0.5) * place.scaleX, place.top + (row + 0.5) * place.scaleY];
    const middle = [canvas.width / 2, canvas.height / 2];
    if (at[0] < 0 || at[1] < 0 || at[0] >= canvas.width || at[1] >= canvas.height) {
      views[plane].panX += (middle[0] - at[0]) / place.fit;
      views[plane].panY += (middle[1] - at[1]) / place.fit;
      at.splice(0, 2, ...middle);
    }
    this.zoomAt(pane, factor, at);
  }

  // By key: a tenth of the pane, in the direction of the arrow.
  panBy(dx, dy) {
    const pane = this.currentPane();
    this.touched(pane);
    this.pan(pane, (dx * pane.canvas.width) / 10, (dy * pane.canvas.height) / 10);
  }

  // Zoom so that what lies under the point stays under it.
  zoomAt(pane, factor, [x, y]) {
    if (!pane.place) return;
    const view = this.settings.views[pane.plane];
    const zoom = clamp(view.zoom * factor, ...ZOOM_RANGE);
    const real = zoom / view.zoom;
    const { fit } = pane.place;
    const [cx, cy] = [(x - pane.canvas.width / 2) / fit, (y - pane.canvas.height / 2) / fit];
    Object.assign(view, { zoom, panX: cx - (cx - view.panX) * real, panY: cy - (cy - view.panY) * real });
    this.redraw();
  }

  pan(pane, dx, dy) {
    if (!pane.place) return;
    const view = this.settings.views[pane.plane];
    view.panX += dx / pane.place.fit;
    view.panY += dy / pane.place.fit;
    this.redraw();
  }

  dragWindow(pane, dx, dy) {
    this.changeWindow(pane, dx / 300, dy / 300); // upwards: lower level, brighter picture
  }

  // The scans whose windows change together: of two visits both, each in its own scanner's units.
  windowed(pane) {
    const panes = this.settings.layout === "beside" ? this.panes : [pane];
    return panes.map(({ scan }) => scan ?? this.settings.modality);
  }

  // Both in widths of the scan's first window.
  changeWindow(pane, wider, higher) {
    for (const n of this.windowed(pane)) {
      const volume = loaded(this.sources[n].token);
      if (!volume) continue;
      this.settings.windows[n] = windowAround(this.windowOf(n), volume.header.window, wider, higher);
      this.notePreset(n, null);
    }
    this.redraw();
  }

  changeWindowByKey(wider, higher) {
    this.touched(this.currentPane());
    this.changeWindow(this.currentPane(), wider, higher);
  }

  resetWindow(pane) {
    for (const n of this.windowed(pane)) {
      delete this.settings.windows[n];
      this.notePreset(n, "auto");
    }
    this.redraw();
  }

  notePreset(n, id) {
    if (this.presetOf(n) === id) return;
    this.settings.presets[n] = id;
    this.panel.refresh();
  }

  presetOf(n) {
    const { presets } = this.settings;
    return n in presets ? presets[n] : "auto";
  }

  usePreset(id) {
    for (const n of this.windowed({ scan: null })) {
      const volume = loaded(this.sources[n].token);
      const labels = this.isBeside(n) ? loaded(this.data.comparison.token) : this.labels();
      const chosen = volume && (id === "tumour" ? this.tumourWindow(volume, labels) : presetWindow(volume.header.window, PRESETS[id]));
      if (!chosen) continue;
      this.settings.windows[n] = chosen;
      this.notePreset(n, id);
    }
    this.redraw();
  }

  // The tumour's own greys, from edge to edge; null while there is no tumour.
  tumourWindow(volume, labels) {
    if (!labels) return null;
    const anyLabel = membership(this.data.segmentation.labels.flatMap((layer) => layer.members));
    return tumourWindow(volume, labels.values, anyLabel);
  }

  resetView() {
    for (const plane of Object.keys(PLANES)) this.settings.views[plane] = neutralView();
    this.settings.windows = {};
    this.settings.presets = {};
    this.refresh();
  }

  // ---- cine -------------------------------------------------------------------------------------

  toggleCine() {
    if (this.playing) return this.stopCine();
    const { plane } = this.currentPane();
    const { w } = PLANES[plane];
    const [first, last] = this.settings.box[w];
    let due = performance.now();
    const tick = (now) => {
      if (!this.playing) return;
      const period = 1000 / this.settings.cineSpeed;
      if (now >= due) {
        due = Math.max(due + period, now - period);
        const next = this.settings.cursor[w] + 1;
        this.goToSlice(plane, next > last ? first : next);
      }
      this.playing = requestAnimationFrame(tick);
    };
    this.playing = requestAnimationFrame(tick);
    this.panel.showCine(true);
  }

  changeCineSpeed(change) {
    this.set("cineSpeed", clamp(this.settings.cineSpeed + change, ...CINE_RANGE));
  }

  stopCine() {
    if (!this.playing) return;
    cancelAnimationFrame(this.playing);
    this.playing = null;
    this.panel.showCine(false);
  }

  // ---- the rest ---------------------------------------------------------------------------------

  toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.frame.requestFullscreen();
  }

  toggleHelp() {
    const { help } = this.panel;
    if (!help.hidden) return this.closeHelp();
    help.hidden = false;
    help.focus({ preventScroll: true });
    return true;
  }

  closeHelp() {
    if (this.panel.help.hidden) return false;
    this.panel.help.hidden = true;
    this.currentPane()?.canvas.focus({ preventScroll: true });
    return true;
  }

  // The panes as they lie on the screen, with a legend below, as a PNG file.
  savePicture() {
    this.draw();
    const { ratio } = this;
    const stage = this.stage.getBoundingClientRect();
    const legend = this.pictureLegend();
    const footer = legend.length ? 26 * ratio : 0;
    const picture = element("canvas", { width: Math.round(stage.width * ratio), height: Math.round(stage.height * ratio + footer) });
    const context = picture.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, picture.width, picture.height);
    const solid = this.settings.layout === "solid" && this.solid ? [this.solid] : [];
    for (const pane of solid) pane.draw(); // a WebGL canvas can be copied only while it is fresh
    const at = (node) => {
      const box = node.getBoundingClientRect();
      return [(box.left - stage.left) * ratio, (box.top - stage.top) * ratio, box.width * ratio, box.height * ratio];
    };
    for (const { canvas } of [...solid, ...this.panes]) context.drawImage(canvas, ...at(canvas).slice(0, 2).map(Math.round));
    if (solid.length && this.settings.marks) writeLetters(context, this.solid.letters, at, ratio);
    if (footer) writeLegend(context, legend, picture, footer, ratio);
    const pane = this.currentPane();
    const name = `viewer-${pane.plane}-${this.settings.cursor[PLANES[pane.plane].w] + 1}.png`;
    picture.toBlob((blob) => {
      const link = element("a", { href: URL.createObjectURL(blob), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    }, "image/png");
  }

  pictureLegend() {
    if (this.comparison().difference) {
      const ml = ({ code }) => (this.compared.counts[code] * this.data.grid.voxelMl).toFixed(1);
      return this.differences().filter((part) => part.on).map((part) => ({ colour: part.colour, text: `${part.title} ${ml(part)} mL` }));
    }
    const layers = this.settings.overlay ? this.layers().filter((layer) => layer.on) : [];
    return layers.map(({ colour, title, ml }) => ({ colour, text: `${title} ${ml.toFixed(1)} mL` }));
  }
}
