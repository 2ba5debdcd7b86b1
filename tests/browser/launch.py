"""Start the real ``app.py`` with a network that anyone can check, to test what surrounds it.

``python -m tests.browser.launch GRACE_S OPTION...``; ``/_test/memory`` tells what is held.
"""

import gc
import gzip
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from streamlit import runtime
from streamlit.runtime.uploaded_file_manager import UploadedFile
from streamlit.web import cli

from model.predict import Network
from pages.components import engine, expiry, session, upload, viewer
from pages.components.viewer.store import STORE
from utils import nifti
from utils.labels import Region
from utils.study import Study

ROOT = Path(__file__).parents[2]
HELD = Path(os.environ.get("HOLD_THE_NETWORK", "/no/such/file"))
STORED = Path(os.environ.get("STORE_THE_MASKS", "/no/such/file"))


def bright_is_enhancing(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    while tensor.any() and HELD.exists():  # a network that takes as long as a test needs
        time.sleep(0.1)
    bright = tensor.mean(axis=-1, keepdims=True) > 0.9
    return np.repeat(bright, len(Region), axis=-1).astype(np.float32)


def compress(data: bytes, compresslevel: int, mtime: int) -> bytes:
    """Let a small mask become a large file, which Streamlit identifies by samples alone."""
    return gzip.compress(data, 0 if STORED.exists() else compresslevel, mtime=mtime)


def network() -> Network:
    return Network(bright_is_enhancing, (64, 64, 48), "fake", "0" * 64, "by hand")


async def memory(_: Request) -> JSONResponse:
    """Count what belongs to patients, wherever it hangs."""
    gc.collect()
    server = runtime.get_instance()
    living = gc.get_objects()
    return JSONResponse(
        {
            "sessions": len(server._session_mgr.list_sessions()),
            "visits": sum(isinstance(o, session.Visit) for o in living),
            "studies": sum(isinstance(o, Study) for o in living),
            "jobs": sum(isinstance(o, engine.Job) for o in living),
            "uploads": sum(len(f) for f in server.uploaded_file_mgr.file_storage.values()),
            "files": sum(isinstance(o, (upload._File, UploadedFile)) for o in living),
            "media": len(server.media_file_mgr._file_metadata),
            "deferred": len(server.media_file_mgr._deferred_callables),
            "published": len(STORE._publications),
        }
    )


if __name__ == "__main__":
    engine.load_network = network
    nifti.gzip = SimpleNamespace(compress=compress)
    expiry.GRACE_S = STORE.grace_s = float(sys.argv[1])
    expiry.SWEEP_INTERVAL_S = 0.5
    routes = viewer.viewer_routes()
    viewer.viewer_routes = lambda: [Route("/_test/memory", memory), *routes]
    cli.main(["run", str(ROOT / "app.py"), *sys.argv[2:]])
