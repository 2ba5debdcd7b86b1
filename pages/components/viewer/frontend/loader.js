// The only script that travels with the component's message; the rest is fetched once and kept.
const FAILED = "The viewer could not be loaded. Reload the page; if that does not help, ask who runs this server.";

// Streamlit's own paths start where the page lies: behind a proxy the page's folder is forwarded,
// and the server's routes accept anything before their own name.
function bases() {
  const page = new URL(document.baseURI);
  const asFolder = new URL(page.pathname.replace(/\/*$/, "/"), page);
  return [...new Set([new URL(".", page).href, asFolder.href, new URL("/", page).href])];
}

async function importViewer(code) {
  let failure = null;
  for (const base of bases()) {
    try {
      return { module: await import(new URL(code + "main.js", base).href), base };
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

// One entry per mounted root: Streamlit calls this function again on every change of the data, and
// may run the clean-up of an overtaken call after a newer one has begun.
const calls = new WeakMap();

export default function (component) {
  const root = component.parentElement;
  const call = (calls.get(root) ?? 0) + 1;
  calls.set(root, call);
  const ready = importViewer(JSON.parse(component.data.view).code).then(
    ({ module, base }) => {
      if (calls.get(root) === call) module.show(component, base);
      return module;
    },
    (error) => {
      const note = document.createElement("p");
      note.setAttribute("role", "alert");
      note.textContent = FAILED;
      root.append(note);
      console.error(error);
    },
  );
  return () => {
    if (calls.get(root) !== call) return;
    calls.delete(root);
    ready.then((module) => module?.close(root));
  };
}
