// What the reader has chosen. Kept per viewer key for the life of the page, so that it survives
// reruns and page switches; what concerns one study starts afresh with the next.

const kept = new Map();

export const LAYOUTS = {
  axial: { title: "Axial", panes: ["axial"] },
  coronal: { title: "Coronal", panes: ["coronal"] },
  sagittal: { title: "Sagittal", panes: ["sagittal"] },
  three: { title: "Three planes", panes: ["axial", "coronal", "sagittal"] },
  solid: { title: "3-D", panes: ["axial", "coronal"] }, // beside the surfaces
  beside: { title: "Both visits", panes: null }, // the earlier scan and today's, one slice for both
  modalities: { title: "Four scans", panes: null }, // the current plane, once per scan
};

export const TOOLS = {
  crosshair: "Cross-hair",
  scroll: "Scroll",
  window: "Window",
  pan: "Pan",
  zoom: "Zoom",
};

export const CINE_RANGE = [2, 40]; // slices a second

// Share of the first window's width, and where in it the middle lies; the tumour's window is found
// in the scan itself.
export const PRESETS = {
  auto: { title: "Auto", hint: "Window: the brain's own greys", key: "5", width: 1, level: 0.5 },
  wide: { title: "Wide", hint: "Window: wide, for the brightest tissue", key: "6", width: 1.6, level: 0.8 },
  narrow: { title: "Narrow", hint: "Window: narrow, for faint contrast", key: "7", width: 0.5, level: 0.5 },
  tumour: { title: "Tumour", hint: "Window: the tumour's own greys", key: "8" },
};

export function settingsFor(key) {
  if (!kept.has(key)) kept.set(key, fresh());
  return kept.get(key);
}

export function startStudy(settings, id, grid) {
  if (settings.study === id) return;
  Object.assign(settings, {
    study: id,
    cursor: grid.shape.map((n) => Math.floor(n / 2)),
    windows: {}, // scan -> [low, high], where the reader has changed it
    presets: {}, // scan -> the preset that is on; null once it was changed by hand
    views: { axial: neutralView(), coronal: neutralView(), sagittal: neutralView() },
    box: grid.shape.map((n) => [0, n - 1]),
    boxIsTissue: false,
    lookedAround: false,
  });
}

// A second mask opens as the page wants it; after that it stays as the reader has set it.
export function startComparison(settings, comparison, beside) {
  const token = comparison?.token ?? null;
  if (settings.compared === token) return;
  settings.compared = token;
  delete settings.windows[beside];
  delete settings.presets[beside];
  if (comparison) settings.comparison = comparison.opens;
  if (comparison?.beside) Object.assign(settings, { layout: "beside", modality: comparison.beside.like });
  else if (settings.layout === "beside") settings.layout = "three";
}

export function neutralView() {
  return { zoom: 1, panX: 0, panY: 0 };
}

function fresh() {
  return {
    study: null,
    layout: "three",
    plane: "axial", // the plane the reader works in
    modality: 0,
    convention: "radiological",
    tool: "crosshair",
    smooth: true,
    crosshair: true,
    marks: true,
    overlay: true,
    style: "both",
    opacity: 0.25,
    scheme: "labels",
    off: {}, // legend entries that are switched off
    colours: {}, // legend entries whose colour the reader has changed
    blend: { scan: null, amount: 0.5 },
    comparison: "outline", // how a second mask is drawn, if there is one
    compared: null, // the second mask that the page has opened
    map: { region: null, opacity: 0.6 },
    cineSpeed: 12,
    lookAt: null, // the last request that was carried out
    reported: "",
  };
}
