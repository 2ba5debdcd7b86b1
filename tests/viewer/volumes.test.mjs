import assert from "node:assert/strict";
import test from "node:test";
import { GoneError, keepOnly, load, loaded, watchUnseen } from "../../pages/components/viewer/frontend/volumes.js";

// A server that answers with two voxels, or not at all, and remembers what it was asked.
function serve({ status = 200, alive = () => true } = {}) {
  const asked = [];
  globalThis.fetch = async (url) => {
    asked.push(url);
    if (url.endsWith("/alive")) return { ok: true, json: async () => alive(url) };
    return {
      status,
      ok: status === 200,
      headers: new Map([["X-Volume", '{"dtype": "int16", "scale": 2}']]),
      arrayBuffer: async () => Int16Array.of(-3, 7).buffer,
    };
  };
  return asked;
}

test("a volume is fetched once, however often it is wanted", async () => {
  const asked = serve();
  const [one, other] = await Promise.all([load("/v/", "once"), load("/v/", "once")]);
  assert.equal(one, other);
  assert.equal(loaded("once"), one);
  assert.deepEqual([...one.values], [-3, 7]);
  assert.equal(one.header.scale, 2);
  assert.deepEqual(asked, ["/v/once"]);
});

test("a dead address is said to be gone, and is asked again only when wanted again", async () => {
  const asked = serve({ status: 404 });
  await assert.rejects(load("/v/", "dead"), GoneError);
  assert.equal(loaded("dead"), null);
  await assert.rejects(load("/v/", "dead"), GoneError);
  assert.equal(asked.length, 2);
});

test("a server's error names its number", async () => {
  serve({ status: 503 });
  await assert.rejects(load("/v/", "busy"), /503/);
});

test("another study's volumes leave the page's memory", async () => {
  serve();
  await Promise.all([load("/v/", "old"), load("/v/", "new")]);
  keepOnly(["new"]);
  assert.equal(loaded("old"), null);
  assert.ok(loaded("new"));
});

test("an erased study leaves the memory of a page that no longer shows it", async (context) => {
  serve({ alive: (url) => !url.includes("erased") });
  await Promise.all([load("/v/", "erased"), load("/v/", "kept")]);
  context.mock.timers.enable({ apis: ["setInterval"] });
  watchUnseen(true);
  context.mock.timers.tick(15_000);
  await new Promise((resolve) => setImmediate(resolve));
  watchUnseen(false);
  assert.equal(loaded("erased"), null);
  assert.ok(loaded("kept"));
});
