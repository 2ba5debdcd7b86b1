// Who draws: a graphics card, or the processor in its place.

const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;
const MASKED = "WebKit WebGL"; // what Chromium and Safari say instead of the renderer's name

// { webGl: whether 3-D is possible, software: whether the processor draws it, and perhaps the page }
export function probe(canvas = document.createElement("canvas")) {
  const gl = canvas.getContext("webgl2");
  if (!gl) return { webGl: false, software: true };
  const software = isSoftware(rendererOf(gl));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return { webGl: true, software };
}

export function isSoftware(renderer) {
  return SOFTWARE.test(renderer);
}

export function rendererOf(gl) {
  const name = String(gl.getParameter(gl.RENDERER));
  const info = name === MASKED ? gl.getExtension("WEBGL_debug_renderer_info") : null; // Firefox warns
  return info ? String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : name;
}
