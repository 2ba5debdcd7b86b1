import assert from "node:assert/strict";
import test from "node:test";
import { isSoftware, probe } from "../../pages/components/viewer/frontend/graphics.js";
import { labelText, position, tidy } from "../../pages/components/viewer/frontend/reading.js";

const SEGMENTATION = {
  threshold: 127.5, // one half of 255
  labels: [
    { title: "Core", members: [1] },
    { title: "Oedema", members: [2] },
    { title: "Enhancing", members: [4] },
  ],
  regions: [{ members: [1, 2, 4] }, { members: [1, 4] }, { members: [4] }],
};
const label = (value, ...probabilities) => labelText(value, probabilities.length ? probabilities : null, SEGMENTATION);

test("a label that its probabilities bear out is named and nothing more", () => {
  assert.equal(label(4, 250, 240, 200), "Enhancing");
  assert.equal(label(1, 250, 128, 20), "Core");
  assert.equal(label(2, 250, 127, 0), "Oedema");
  assert.equal(label(0, 127, 0, 0), "No tumour");
});

test("core that the network did not see as core lies inside a closed rim", () => {
  assert.equal(label(1, 250, 12, 3), "Core: enclosed by the rim");
  assert.equal(label(1, 100, 12, 3), "Core: enclosed by the rim");
});

test("tumour that is not labelled was a speck", () => {
  assert.equal(label(0, 128, 0, 0), "No tumour: too small or faint alone");
});

test("tumour whose inner region is not labelled held a speck of it", () => {
  assert.equal(label(2, 250, 128, 0), "Oedema: more was too small or faint");
});

test("in a corrected mask nobody can tell who changed a voxel", () => {
  const corrected = { ...SEGMENTATION, corrected: true };
  assert.equal(labelText(2, [40, 0, 0], corrected), "Oedema: in a corrected mask");
  assert.equal(labelText(0, [240, 0, 0], corrected), "No tumour: in a corrected mask");
  assert.equal(labelText(2, [240, 0, 0], corrected), "Oedema");
});

test("until the probabilities are there only the label is read out", () => {
  assert.equal(label(1), "Core");
});

test("values are as precise as they are worth, places have the patient's letters", () => {
  assert.deepEqual([tidy(17), tidy(123.4), tidy(12.34), tidy(0.1234)], ["17", "123", "12.3", "0.12"]);
  assert.equal(position([12, -3.46, 0]), "R 12.0 P 3.5 S 0.0");
});

test("the processor is told from a graphics card by its name", () => {
  for (const name of ["ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero)), SwiftShader driver)", "llvmpipe (LLVM 15)", "Microsoft Basic Render Driver"]) {
    assert.equal(isSoftware(name), true, name);
  }
  assert.equal(isSoftware("ANGLE (NVIDIA, NVIDIA GeForce RTX 3060 Direct3D11)"), false);
});

test("a browser hides the renderer's name behind an extension, or there is no WebGL at all", () => {
  const canvas = (gl) => ({ getContext: () => gl });
  const masked = {
    RENDERER: 1,
    getExtension: (name) => (name === "WEBGL_debug_renderer_info" ? { UNMASKED_RENDERER_WEBGL: 2 } : null),
    getParameter: (which) => (which === 1 ? "WebKit WebGL" : "SwiftShader"),
  };
  assert.deepEqual(probe(canvas(masked)), { webGl: true, software: true });
  assert.deepEqual(probe(canvas({ ...masked, getParameter: () => "Apple M2" })), { webGl: true, software: false });
  assert.deepEqual(probe(canvas(null)), { webGl: false, software: true });
});
