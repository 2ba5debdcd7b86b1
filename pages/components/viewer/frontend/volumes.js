// Volumes fetched once per address and kept in the page's memory, across reruns and page switches.

const kept = new Map(); // token -> { url, promise, volume }
const ARRAYS = { int16: Int16Array, uint8: Uint8Array };
const CHECK_MS = 15000;

export class GoneError extends Error {}

export function load(url, token) {
  if (!kept.has(token)) {
    const entry = { url: url + token, promise: null, volume: null };
    entry.promise = fetchVolume(entry.url).then(
      (volume) => (entry.volume = volume),
      (error) => {
        kept.delete(token); // so that it can be tried again
        throw error;
      },
    );
    kept.set(token, entry);
  }
  return kept.get(token).promise;
}

export function loaded(token) {
  return kept.get(token)?.volume ?? null;
}

// Patients leave the page's memory when another study opens, or when the server has erased theirs.
export function keepOnly(tokens) {
  const wanted = new Set(tokens);
  for (const token of kept.keys()) if (!wanted.has(token)) kept.delete(token);
}

async function fetchVolume(url) {
  const response = await fetch(url, { cache: "no-store", credentials: "same-origin" });
  if (response.status === 404) throw new GoneError("This study is no longer on the server.");
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  const header = JSON.parse(response.headers.get("X-Volume"));
  return { header, values: new ARRAYS[header.dtype](await response.arrayBuffer()) };
}

// While no viewer is on screen, ask now and then whether the study still exists.
let watch = null;
export function watchUnseen(unseen) {
  clearInterval(watch);
  watch = unseen && kept.size ? setInterval(dropErased, CHECK_MS) : null;
}

async function dropErased() {
  for (const [token, entry] of [...kept]) {
    if (!entry.volume) continue;
    const answer = await fetch(`${entry.url}/alive`, { cache: "no-store" }).catch(() => null);
    if (answer?.ok && (await answer.json()) === false) kept.delete(token);
  }
  if (!kept.size) watchUnseen(false);
}
