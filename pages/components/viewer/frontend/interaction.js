// From the hand to the viewer: wheel, pointer and keys. Knows no voxels; calls the viewer's verbs.

const NOTCH = 40; // a wheel's notch reports 100 or 120 pixels, a track pad a few at a time
const TRACKPAD_STEP = 24;
const GESTURE_GAP_MS = 200;
const TAP_PX = 8;
const ZOOM_PER_PX = 0.006;
const WINDOW_STEP = 0.05; // of the scan's first window, for one press of a key

// Slices to move for one wheel event; keeps what a track pad has left over.
export class WheelSteps {
  constructor() {
    this.rest = 0;
    this.last = -Infinity;
  }

  take(event) {
    const delta = event.deltaY || event.deltaX; // Shift turns the wheel sideways in some browsers
    if (!delta) return 0;
    if (event.deltaMode !== 0 || Math.abs(delta) >= NOTCH) {
      const unit = event.deltaMode === 0 ? 120 : 3;
      this.rest = 0;
      return -Math.sign(delta) * Math.max(1, Math.round(Math.abs(delta) / unit));
    }
    const begins = event.timeStamp - this.last > GESTURE_GAP_MS || Math.sign(delta) !== Math.sign(this.rest);
    this.last = event.timeStamp;
    this.rest = begins ? Math.sign(delta) * TRACKPAD_STEP : this.rest + delta;
    const steps = Math.trunc(this.rest / TRACKPAD_STEP);
    this.rest -= steps * TRACKPAD_STEP;
    if (this.rest === 0) this.rest = Math.sign(delta) * Number.EPSILON; // remember the direction
    return -steps;
  }
}

export function listenToPane(viewer, pane, signal) {
  const canvas = pane.canvas;
  const wheel = new WheelSteps();
  const pointers = new Map();
  let drag = null;

  const on = (name, handler, options = {}) => canvas.addEventListener(name, handler, { signal, ...options });
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  };

  on("wheel", (event) => {
    event.preventDefault();
    viewer.touched(pane);
    if (event.ctrlKey || event.metaKey) {
      viewer.zoomAt(pane, Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.002), at(event));
    } else {
      const steps = wheel.take(event);
      if (steps) viewer.scroll(pane.plane, steps);
    }
  }, { passive: false });

  on("contextmenu", (event) => event.preventDefault());
  on("dblclick", () => viewer.resetWindow(pane));
  on("auxclick", (event) => event.preventDefault());

  on("pointerdown", (event) => {
    if (event.button === 1) event.preventDefault(); // no auto-scroll
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    viewer.touched(pane);
    pointers.set(event.pointerId, at(event));
    drag = begin(event);
    if (drag.verb === "crosshair") viewer.pointAt(pane, at(event));
  });

  on("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = pointers.get(event.pointerId);
    const now = at(event);
    if (pointers.size === 2) pinch(event.pointerId, before, now);
    else if (drag) move(before, now);
    pointers.set(event.pointerId, now);
  });

  const end = (event) => {
    if (drag?.isTap && pointers.size === 1 && event.type === "pointerup") viewer.pointAt(pane, at(event));
    pointers.delete(event.pointerId);
    if (!pointers.size) drag = null;
  };
  on("pointerup", end);
  on("pointercancel", end);

  function begin(event) {
    const finger = event.pointerType === "touch";
    return { verb: verbOf(event, viewer.settings.tool, finger), start: at(event), isTap: finger, rest: 0 };
  }

  function move(before, now) {
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (Math.hypot(now[0] - drag.start[0], now[1] - drag.start[1]) > TAP_PX * viewer.ratio) drag.isTap = false;
    if (drag.isTap) return;
    switch (drag.verb) {
      case "crosshair":
        return viewer.pointAt(pane, now);
      case "pan":
        return viewer.pan(pane, dx, dy);
      case "zoom":
        return viewer.zoomAt(pane, Math.exp((-dy * ZOOM_PER_PX) / viewer.ratio), drag.start);
      case "window":
        return viewer.dragWindow(pane, dx / viewer.ratio, dy / viewer.ratio);
      case "scroll": {
        drag.rest -= dy;
        const perSlice = Math.max(3 * viewer.ratio, canvas.height / viewer.sliceCount(pane.plane));
        const steps = Math.trunc(drag.rest / perSlice);
        drag.rest -= steps * perSlice;
        if (steps) viewer.scroll(pane.plane, steps);
      }
    }
  }

  function pinch(id, before, now) {
    drag = null;
    const other = [...pointers].find(([key]) => key !== id)[1];
    const span = (p) => Math.max(1, Math.hypot(p[0] - other[0], p[1] - other[1]));
    viewer.zoomAt(pane, span(now) / span(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    viewer.pan(pane, (now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  }
}

function verbOf(event, tool, finger) {
  if (event.button === 1) return "pan";
  if (event.button === 2) return "window";
  if (event.shiftKey) return "pan";
  if (event.ctrlKey || event.metaKey) return "zoom";
  return finger && tool === "crosshair" ? "scroll" : tool; // a finger's tap sets the cross-hair
}

// key -> what it does; shown in the help, so that no key is secret.
export const KEYS = [
  [["1", "2", "3", "4"], "FLAIR, T1, T1ce, T2", (viewer, key) => viewer.showScan(Number(key) - 1)],
  [["ArrowUp", "ArrowRight"], "Next slice", (viewer) => viewer.step(1)],
  [["ArrowDown", "ArrowLeft"], "Previous slice", (viewer) => viewer.step(-1)],
  [["PageUp"], "Ten slices on", (viewer) => viewer.step(10)],
  [["PageDown"], "Ten slices back", (viewer) => viewer.step(-10)],
  [["Home"], "First slice", (viewer) => viewer.step(-Infinity)],
  [["End"], "Last slice", (viewer) => viewer.step(Infinity)],
  [["Shift+Arrow"], "Move the cross-hair within the slice", null],
  [["Alt+Arrow"], "Pan", null],
  [["n"], "Next slice with tumour", (viewer) => viewer.toTumour(1)],
  [["b"], "Previous slice with tumour", (viewer) => viewer.toTumour(-1)],
  [["l"], "Slice with the largest tumour", (viewer) => viewer.toLargest()],
  [["a"], "Axial", (viewer) => viewer.setLayout("axial")],
  [["c"], "Coronal", (viewer) => viewer.setLayout("coronal")],
  [["s"], "Sagittal", (viewer) => viewer.setLayout("sagittal")],
  [["m"], "Three planes", (viewer) => viewer.setLayout("three")],
  [["d"], "3-D (needs WebGL 2)", (viewer) => viewer.setLayout("solid")],
  [["g"], "Four scans side by side", (viewer) => viewer.setLayout("modalities")],
  [["y"], "Both visits side by side", (viewer) => viewer.setLayout("beside")],
  [["o"], "Overlay on or off", (viewer) => viewer.toggle("overlay")],
  [["f"], "Fill, outline, both", (viewer) => viewer.nextStyle()],
  [["["], "Overlay fainter", (viewer) => viewer.addOpacity(-0.1)],
  [["]"], "Overlay stronger", (viewer) => viewer.addOpacity(0.1)],
  [["x"], "Cross-hair on or off", (viewer) => viewer.toggle("crosshair")],
  [["t"], "Marks and text on or off", (viewer) => viewer.toggle("marks")],
  [["i"], "Smooth pixels on or off", (viewer) => viewer.toggle("smooth")],
  [["v"], "Radiological or neurological", (viewer) => viewer.nextConvention()],
  [["+", "="], "Zoom in", (viewer) => viewer.zoomBy(1.25)],
  [["-"], "Zoom out", (viewer) => viewer.zoomBy(0.8)],
  [["0"], "Fit to the pane, reset the window", (viewer) => viewer.resetView()],
  [["5"], "Window: automatic", (viewer) => viewer.usePreset("auto")],
  [["6"], "Window: wide", (viewer) => viewer.usePreset("wide")],
  [["7"], "Window: narrow", (viewer) => viewer.usePreset("narrow")],
  [["8"], "Window: tumour", (viewer) => viewer.usePreset("tumour")],
  [["q"], "Less contrast (wider window)", (viewer) => viewer.changeWindowByKey(WINDOW_STEP, 0)],
  [["w"], "More contrast (narrower window)", (viewer) => viewer.changeWindowByKey(-WINDOW_STEP, 0)],
  [["e"], "Darker (higher level)", (viewer) => viewer.changeWindowByKey(0, WINDOW_STEP)],
  [["r"], "Brighter (lower level)", (viewer) => viewer.changeWindowByKey(0, -WINDOW_STEP)],
  [[" "], "Cine: play or stop", (viewer) => viewer.toggleCine()],
  [[","], "Cine slower", (viewer) => viewer.changeCineSpeed(-2)],
  [["."], "Cine faster", (viewer) => viewer.changeCineSpeed(2)],
  [["p"], "Save a picture (PNG)", (viewer) => viewer.savePicture()],
  [["?", "h"], "This help", (viewer) => viewer.toggleHelp()],
];

export const MOUSE = [
  ["Wheel", "Scroll slices"],
  ["Left button", "The chosen tool: cross-hair, scroll, window, pan, zoom"],
  ["Right button, drag", "Window: sideways contrast, up brighter"],
  ["Double click", "Reset the window"],
  ["Middle button or Shift, drag", "Pan"],
  ["Ctrl + wheel or Ctrl + drag", "Zoom"],
  ["Touch", "One finger scrolls, a tap sets the cross-hair, two fingers zoom and pan"],
];

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const NAVIGATION = /^(Arrow|Page|Home|End)/;

export function handleKey(viewer, event) {
  if (event.ctrlKey || event.metaKey || event.defaultPrevented) return;
  if (event.altKey && !ARROWS[event.key]) return;
  const target = event.composedPath()[0];
  if (target.closest?.("select, input[type=color]")) return;
  if (target.closest?.("input") && (NAVIGATION.test(event.key) || event.key === " ")) return;
  if (target.closest?.("button") && (event.key === " " || event.key === "Enter")) return;
  if (event.key === "Escape" && viewer.closeHelp()) return take(event);
  if (ARROWS[event.key] && (event.shiftKey || event.altKey)) {
    if (event.altKey) viewer.panBy(...ARROWS[event.key]);
    else viewer.nudge(...ARROWS[event.key]);
    return take(event); // Alt with an arrow would leave the page
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const entry = KEYS.find(([keys, , act]) => act && keys.includes(key));
  if (!entry) return;
  entry[2](viewer, key);
  take(event);
}

function take(event) {
  event.preventDefault();
  event.stopPropagation(); // Streamlit has keys of its own, such as c and r
}
