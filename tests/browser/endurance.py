"""An hour at the viewer in a minute: what a page holds before and after it."""

from dataclasses import dataclass
from typing import Any

WHEELS_A_FRAME = 5

# Some turns of the wheel in every frame, there and back; in every tenth another scan or layout.
_READ = """([frames, wheels]) => new Promise((done) => {
  const root = [...document.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)
    .find((r) => r.querySelector(".viewer"));
  const keys = ["1", "a", "2", "c", "3", "s", "4", "m", "g", "f"];
  let left = frames;
  const frame = () => {
    const canvas = root.querySelector(".pane canvas[data-scan]");
    for (let n = 0; n < wheels; n++) {
      const deltaY = left % 60 < 30 ? 100 : -100;
      canvas.dispatchEvent(new WheelEvent("wheel", { deltaY, bubbles: true, cancelable: true }));
    }
    if (left % 10 === 0) {
      const key = keys[(left / 10) % keys.length];
      canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true }));
    }
    if (--left) requestAnimationFrame(frame);
    else done();
  };
  frame();
})"""


@dataclass(frozen=True)
class Held:
    """What a page holds once its rubbish is collected."""

    heap_bytes: float
    nodes: int
    listeners: int


def read_for_long(page: Any, frames: int) -> None:
    """Scroll as fast as the page draws, with `WHEELS_A_FRAME` turns of the wheel in each frame."""
    page.evaluate(_READ, [frames, WHEELS_A_FRAME])


def held(session: Any) -> Held:
    """Ask a page's DevTools session what it holds."""
    session.send("Performance.enable")
    session.send("HeapProfiler.collectGarbage")
    counters = session.send("Memory.getDOMCounters")
    metrics = session.send("Performance.getMetrics")["metrics"]
    heap_bytes = next(m["value"] for m in metrics if m["name"] == "JSHeapUsedSize")
    return Held(heap_bytes, counters["nodes"], counters["jsEventListeners"])
