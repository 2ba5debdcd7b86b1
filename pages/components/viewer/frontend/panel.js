// The controls around the images. Builds elements once; `refresh` sets them to the settings.

import { MOUSE, KEYS } from "./interaction.js";
import { CINE_RANGE, LAYOUTS, PRESETS, TOOLS } from "./settings.js";

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const ICONS = {
  crosshair: "M8 1v5M8 10v5M1 8h5M10 8h5",
  scroll: "M8 1v14M5 4l3-3 3 3M5 12l3 3 3-3",
  window: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 1 1 0 12",
  pan: "M8 1v14M1 8h14M6 3l2-2 2 2M6 13l2 2 2-2M3 6L1 8l2 2M13 6l2 2-2 2",
  zoom: "M7 2a5 5 0 1 0 .01 0M11 11l4 4M7 5v4M5 7h4",
  reset: "M3 8a5 5 0 1 0 2-4M5 1v3h3",
  play: "M4 2l9 6-9 6z",
  stop: "M3 3h10v10H3z",
  picture: "M2 4h3l1-2h4l1 2h3v9H2zM8 6a2.5 2.5 0 1 0 .01 0",
  full: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  help: "M5.5 5.5a2.5 2.5 0 1 1 3.5 2.3q-1 .5-1 1.7M8 12v1",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  if (name === "play" || name === "stop") path.classList.add("solid");
  svg.append(path);
  return svg;
}

// A row of buttons of which one is pressed.
function choice(label, options, act) {
  const buttons = new Map(
    options.map(({ id, title, hint, face }) => [
      id,
      element("button", { type: "button", title: hint ?? title, "aria-label": hint ?? title, onclick: () => act(id) }, face ?? title),
    ]),
  );
  return {
    buttons,
    node: element("div", { class: "choice", role: "group", "aria-label": label }, ...buttons.values()),
    set(current) {
      for (const [id, button] of buttons) button.setAttribute("aria-pressed", String(id === current));
    },
  };
}

function iconButton(name, hint, act) {
  return element("button", { type: "button", class: "icon", title: hint, "aria-label": hint, onclick: act }, icon(name));
}

function range(label, { min, max, step }, act) {
  return element("input", { type: "range", min, max, step, "aria-label": label, oninput: (event) => act(Number(event.target.value)) });
}

function check(label, act) {
  const input = element("input", { type: "checkbox", onchange: () => act(input.checked) });
  return { node: element("label", { class: "check" }, input, label), input };
}

function select(label, options, act) {
  const node = element(
    "select",
    { "aria-label": label, onchange: () => act(node.value) },
    ...options.map(([value, title]) => element("option", { value }, title)),
  );
  return node;
}

const row = (...children) => element("div", { class: "row" }, ...children);
const section = (title, ...children) => element("section", {}, element("h3", {}, title), ...children);

export class Panel {
  constructor(viewer) {
    this.viewer = viewer;
    this.toolbar = element("div", { class: "toolbar", role: "toolbar", "aria-label": "Viewer" });
    this.side = element("aside", { class: "side", "aria-label": "Viewer settings" });
    this.help = this.buildHelp();
    this.buildFixed();
  }

  buildFixed() {
    const viewer = this.viewer;
    const keys = { axial: "A", coronal: "C", sagittal: "S", three: "M", solid: "D", beside: "Y", modalities: "G" };
    this.layout = choice(
      "Layout",
      Object.entries(LAYOUTS).map(([id, { title }]) => ({ id, title, hint: `${title} (${keys[id]})`, face: title })),
      (id) => viewer.setLayout(id),
    );
    this.tool = choice(
      "Left mouse button",
      Object.entries(TOOLS).map(([id, title]) => ({ id, title, hint: `Left button: ${title.toLowerCase()}`, face: icon(id) })),
      (id) => viewer.set("tool", id),
    );
    this.tool.node.classList.add("icons");
    this.cine = iconButton("play", "Cine: play or stop (space)", () => viewer.toggleCine());
    this.buttons = element(
      "div",
      { class: "choice icons", role: "group", "aria-label": "Actions" },
      iconButton("reset", "Fit to the pane, reset the window (0)", () => viewer.resetView()),
      this.cine,
      iconButton("picture", "Save a picture, PNG (P)", () => viewer.savePicture()),
      iconButton("full", "Full screen", () => viewer.toggleFullScreen()),
      iconButton("help", "Keys and mouse (?)", () => viewer.toggleHelp()),
    );
  }

  // The parts that name the study's scans and the segmentation's layers.
  build(data) {
    const viewer = this.viewer;
    this.scan = choice(
      "Scan",
      data.scans.map(({ title }, n) => ({ id: n, title, hint: `${title} (${n + 1})`, face: title })),
      (n) => viewer.showScan(n),
    );
    this.toolbar.replaceChildren(this.scan.node, this.layout.node, this.tool.node, this.buttons);
    const open = data.segmentation;
    this.side.replaceChildren(
      ...(open ? [this.buildOverlay(data)] : []),
      ...(open && data.comparison ? [this.buildComparison(data)] : []),
      this.buildReadout(data),
      this.buildDisplay(data),
    );
  }

  buildOverlay(data) {
    const viewer = this.viewer;
    this.overlay = check("Show (O)", (on) => viewer.set("overlay", on));
    this.style = choice(
      "Overlay style",
      [{ id: "fill", title: "Fill" }, { id: "outline", title: "Outline" }, { id: "both", title: "Both" }],
      (id) => viewer.set("style", id),
    );
    this.opacity = range("Overlay opacity", { min: 0, max: 1, step: 0.05 }, (value) => viewer.set("opacity", value));
    this.scheme = choice(
      "Legend",
      [{ id: "labels", title: "Labels" }, { id: "regions", title: "Regions" }],
      (id) => viewer.set("scheme", id),
    );
    this.legend = element("ul", { class: "legend" });
    this.map = select(
      "Probability map",
      [["", "No map"], ...data.segmentation.probabilities.map(({ title }, n) => [`p${n}`, `Probability: ${title.toLowerCase()}`]), ["u0", "Uncertainty of the outline"]],
      (value) => viewer.set("map", { ...viewer.settings.map, region: value || null }),
    );
    this.mapScale = element("div", { class: "scale" });
    return section(
      "Segmentation",
      row(this.overlay.node, this.style.node),
      row(element("span", {}, "Opacity"), this.opacity),
      this.scheme.node,
      this.legend,
      this.map,
      this.mapScale,
      this.buildTumour(),
    );
  }

  buildComparison(data) {
    const viewer = this.viewer;
    this.comparison = choice(
      "Comparison",
      [{ id: "off", title: "Off" }, { id: "outline", title: "Dashed" }, { id: "differences", title: "Differences" }],
      (id) => viewer.set("comparison", id),
    );
    const lines = data.comparison.differences.map(({ code, colour, title }) => {
      const swatch = element("span", { class: "swatch" });
      swatch.style.background = colour;
      const shown = element("input", { type: "checkbox", onchange: () => viewer.showLayer(`difference/${code}`, shown.checked) });
      return element("li", {}, swatch, element("label", {}, shown, element("span", { class: "name" }, title), element("span", { class: "ml" })));
    });
    this.differences = element("ul", { class: "legend" }, ...lines);
    return section(data.comparison.title, this.comparison.node, this.differences);
  }

  showDifferences(counts) {
    const { data } = this.viewer;
    if (!counts || !data.comparison) return;
    data.comparison.differences.forEach(({ code }, n) => {
      const ml = `${(counts[code] * data.grid.voxelMl).toFixed(1)} mL`;
      const cell = this.differences.children[n].querySelector(".ml");
      if (cell.textContent !== ml) cell.textContent = ml;
    });
  }

  buildTumour() {
    const viewer = this.viewer;
    const button = (face, hint, act) => element("button", { type: "button", title: hint, "aria-label": hint, onclick: act }, face);
    return element(
      "div",
      { class: "choice even", role: "group", "aria-label": "Slices with tumour" },
      button("‹ Tumour", "Previous slice with tumour (B)", () => viewer.toTumour(-1)),
      button("Largest", "Slice with the largest tumour (L)", () => viewer.toLargest()),
      button("Tumour ›", "Next slice with tumour (N)", () => viewer.toTumour(1)),
    );
  }

  buildReadout(data) {
    const names = ["Voxel", "Position, mm", ...data.scans.map((scan) => scan.title)];
    if (data.segmentation) names.push("Label", ...data.segmentation.probabilities.map((p) => `P(${p.title.toLowerCase()})`));
    this.readout = new Map(names.map((name) => [name, element("dd", {}, "–")]));
    const list = element("dl", { class: "readout" });
    const scans = new Set(data.scans.map((scan) => scan.title));
    for (const [name, value] of this.readout) {
      list.append(element("div", { class: scans.has(name) ? "half" : "" }, element("dt", {}, name), value));
    }
    return section("At the cross-hair", list);
  }

  buildDisplay(data) {
    const viewer = this.viewer;
    const scans = data.scans.map(({ title }, n) => [String(n), title]);
    this.preset = choice(
      "Window",
      Object.entries(PRESETS).map(([id, { title, hint, key }]) => ({ id, title, hint: `${hint} (${key})`, face: title })),
      (id) => viewer.usePreset(id),
    );
    this.blend = select("Blend with", [["", "Blend with…"], ...scans], (value) =>
      viewer.set("blend", { ...viewer.settings.blend, scan: value === "" ? null : Number(value) }),
    );
    this.blendAmount = range("Share of the second scan", { min: 0, max: 1, step: 0.05 }, (amount) =>
      viewer.set("blend", { ...viewer.settings.blend, amount }),
    );
    this.convention = choice(
      "Convention",
      [
        { id: "radiological", title: "Radiological", hint: "Patient's right on the left (V)" },
        { id: "neurological", title: "Neurological", hint: "Patient's right on the right (V)" },
      ],
      (id) => viewer.set("convention", id),
    );
    this.smooth = check("Smooth", (on) => viewer.set("smooth", on));
    this.crosshair = check("Cross-hair", (on) => viewer.set("crosshair", on));
    this.marks = check("Marks", (on) => viewer.set("marks", on));
    this.speedText = element("output", {});
    this.speed = range("Cine, slices a second", { min: CINE_RANGE[0], max: CINE_RANGE[1], step: 1 }, (value) => viewer.set("cineSpeed", value));
    return section(
      "Display",
      this.preset.node,
      row(this.blend, this.blendAmount),
      this.convention.node,
      row(this.smooth.node, this.crosshair.node, this.marks.node),
      row(element("span", {}, "Cine"), this.speed, this.speedText),
    );
  }

  buildHelp() {
    const name = (key) => ({ " ": "Space", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" })[key] ?? (key.length === 1 ? key.toUpperCase() : key);
    const lines = [
      ...MOUSE.map(([what, does]) => [[what], does]),
      ...KEYS.map(([keys, does]) => [keys.map(name), does]),
    ];
    const list = element("dl", {});
    for (const [keys, does] of lines) {
      list.append(element("div", {}, element("dt", {}, ...keys.map((key) => element("kbd", {}, key))), element("dd", {}, does)));
    }
    const close = element("button", { type: "button", onclick: () => this.viewer.closeHelp() }, "Close");
    return element("div", { class: "help", role: "dialog", "aria-label": "Keys and mouse", hidden: true, tabindex: "-1" }, close, list);
  }

  refresh() {
    const { settings, data } = this.viewer;
    this.scan.set(settings.modality);
    this.layout.set(settings.layout);
    this.layout.buttons.get("solid").hidden = !this.viewer.hasWebGl();
    this.layout.buttons.get("beside").hidden = !data.comparison?.beside;
    this.tool.set(settings.tool);
    this.convention.set(settings.convention);
    this.smooth.input.checked = settings.smooth;
    this.crosshair.input.checked = settings.crosshair;
    this.marks.input.checked = settings.marks;
    this.blend.value = settings.blend.scan === null ? "" : String(settings.blend.scan);
    this.blendAmount.value = settings.blend.amount;
    this.blendAmount.disabled = settings.blend.scan === null;
    this.speed.value = settings.cineSpeed;
    this.speedText.textContent = `${settings.cineSpeed}/s`;
    this.preset.set(this.viewer.presetOf(settings.modality));
    this.preset.buttons.get("tumour").hidden = !data.segmentation;
    if (data.segmentation) this.refreshOverlay(settings);
  }

  refreshOverlay(settings) {
    this.overlay.input.checked = settings.overlay;
    this.style.set(settings.style);
    this.opacity.value = settings.opacity;
    this.scheme.set(settings.scheme);
    this.map.value = settings.map.region ?? "";
    this.mapScale.hidden = !settings.map.region;
    this.mapScale.classList.toggle("uncertain", settings.map.region === "u0");
    this.refreshLegend(settings);
    if (this.viewer.data.comparison) {
      this.comparison.set(settings.comparison);
      this.differences.hidden = settings.comparison !== "differences";
      this.viewer.differences().forEach((part, n) => {
        this.differences.children[n].querySelector("input").checked = part.on;
      });
    }
  }

  refreshLegend(settings) {
    const layers = this.viewer.layers();
    if (this.legendScheme !== settings.scheme || this.legend.childElementCount !== layers.length || this.legendOf !== this.viewer.data.segmentation) {
      this.legendScheme = settings.scheme;
      this.legendOf = this.viewer.data.segmentation;
      this.legend.replaceChildren(...layers.map((layer) => this.legendLine(layer)));
    }
    [...this.legend.children].forEach((line, n) => {
      line.querySelector("input[type=checkbox]").checked = layers[n].on;
      line.querySelector("input[type=color]").value = layers[n].colour;
    });
  }

  legendLine(layer) {
    const viewer = this.viewer;
    const shown = element("input", { type: "checkbox", onchange: () => viewer.showLayer(layer.id, shown.checked) });
    const colour = element("input", {
      type: "color",
      title: `Colour of ${layer.title}`,
      "aria-label": `Colour of ${layer.title}`,
      oninput: () => viewer.colourLayer(layer.id, colour.value),
    });
    return element("li", {}, colour, element("label", {}, shown, element("span", { class: "name" }, layer.title), element("span", { class: "ml" }, `${layer.ml.toFixed(1)} mL`)));
  }

  readAt(lines) {
    for (const [name, value] of lines) {
      const cell = this.readout.get(name);
      if (cell && cell.textContent !== value) cell.textContent = value;
    }
  }

  showCine(playing) {
    this.cine.replaceChildren(icon(playing ? "stop" : "play"));
    this.cine.setAttribute("aria-pressed", String(playing));
  }
}
