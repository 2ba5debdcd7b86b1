"""What the app's own server answers to the viewer: its code, and the volumes of living sessions.

The paths begin with anything: the server may stand behind ``server.baseUrlPath``, which Streamlit
does not put before custom routes, or behind a proxy that strips a prefix.
"""

import asyncio
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pages.components.viewer.store import STORE, ForgottenError

FRONTEND = Path(__file__).parent / "frontend"
ROUTE = "_viewer"

_MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_PROTECTED = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_PRIVATE = {**_PROTECTED, "Cache-Control": "no-store, private"}


def frontend_version() -> str:
    """Hash the front end: a new address for any new byte lets a browser keep what it has."""
    digest = hashlib.sha256()
    for path in sorted(FRONTEND.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def viewer_routes() -> list[Route]:
    """Routes that ``st.App`` must be given for the viewer to work."""
    return [
        Route(f"/{{base:path}}{ROUTE}/code/{{version}}/{{name}}", _code, methods=["GET"]),
        Route(f"/{{base:path}}{ROUTE}/volume/{{token}}", _volume, methods=["GET"]),
        Route(f"/{{base:path}}{ROUTE}/volume/{{token}}/alive", _alive, methods=["GET"]),
    ]


async def _code(request: Request) -> Response:
    name = request.path_params["name"]
    path = FRONTEND / name
    if path.suffix not in _MEDIA_TYPES or name not in {p.name for p in FRONTEND.iterdir()}:
        return Response(status_code=404, headers=_PROTECTED)
    headers = {**_PROTECTED, "Cache-Control": "public, max-age=31536000, immutable"}
    return Response(path.read_bytes(), headers=headers, media_type=_MEDIA_TYPES[path.suffix])


async def _alive(request: Request) -> Response:
    # 200 also for a dead address: a browser writes every 404 into the reader's console
    return JSONResponse(STORE.alive(request.path_params["token"]), headers=_PRIVATE)


async def _volume(request: Request) -> Response:
    headers = dict(_PRIVATE)
    pending = STORE.payload(request.path_params["token"])
    if pending is None:
        return Response(status_code=404, headers=_PRIVATE)
    try:
        payload = await asyncio.wrap_future(pending)
    except asyncio.CancelledError:
        if not pending.cancelled():  # the browser went away, not the study
            raise
        return Response(status_code=404, headers=_PRIVATE)
    except ForgottenError:
        return Response(status_code=404, headers=_PRIVATE)
    headers |= {"Content-Encoding": "gzip", "X-Volume": payload.header_json}
    return Response(payload.body, headers=headers, media_type="application/octet-stream")
