import asyncio
import gzip
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette

from pages.components.viewer import routes
from pages.components.viewer.encode import Payload
from pages.components.viewer.store import ForgottenError, ScanStore

CODE = f"_viewer/code/{routes.frontend_version()}"


class Owner:
    """Stands for a study."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ScanStore:
    store = ScanStore(lambda _: True)
    monkeypatch.setattr(routes, "STORE", store)
    return store


@dataclass
class Answer:
    """What the app sent back."""

    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Client:
    """Asks the app as its server would; Starlette's own test client needs another package."""

    def __init__(self, app: Starlette) -> None:
        self.app = app

    def get(self, path: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
        answer = Answer()
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        defaults = {"query_string": b"", "root_path": "", "http_version": "1.1", "scheme": "http"}
        asyncio.run(self.app({**defaults, **scope}, receive, send))
        return answer


@pytest.fixture
def client(store: ScanStore) -> Client:
    return Client(Starlette(routes=routes.viewer_routes()))


@pytest.fixture
def study() -> Owner:
    return Owner()


@pytest.fixture
def token(store: ScanStore, study: Owner) -> str:
    payload = Payload(gzip.compress(b"brain"), {"dtype": "uint8"})
    return store.publish("anna", study, {"flair": lambda: payload})["flair"]


@pytest.mark.parametrize("base", ["", "clinic/", "a/b/"])
def test_a_volume_is_served_under_any_base_path(client: Client, token: str, base: str) -> None:
    answer = client.get(f"/{base}_viewer/volume/{token}")
    assert (answer.status, gzip.decompress(answer.body)) == (200, b"brain")
    assert answer.headers["x-volume"] == '{"dtype": "uint8"}'


def test_a_volume_is_kept_by_no_proxy_and_read_by_no_other_site(client: Client, token: str) -> None:
    headers = client.get(f"/_viewer/volume/{token}", ((b"origin", b"http://evil"),)).headers
    assert headers["cache-control"] == "no-store, private"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-type"] == "application/octet-stream"
    assert not [name for name in headers if name.startswith("access-control")]


def test_an_unknown_address_answers_404_without_saying_more(client: Client) -> None:
    answer = client.get("/_viewer/volume/nonsense")
    assert (answer.status, answer.body) == (404, b"")


def test_an_erased_study_answers_404_and_is_not_alive(
    client: Client, store: ScanStore, study: Owner, token: str
) -> None:
    assert client.get(f"/_viewer/volume/{token}/alive").body == b"true"
    store.forget(study)
    assert client.get(f"/_viewer/volume/{token}").status == 404
    assert client.get(f"/_viewer/volume/{token}/alive").body == b"false"


def test_an_encoder_that_was_cancelled_answers_404(
    client: Client, store: ScanStore, token: str
) -> None:
    pending = store.payload(token)
    assert pending is not None
    pending.result(5)
    cancelled = type(pending)()
    cancelled.cancel()
    store._publications[0].payloads[token] = cancelled
    assert client.get(f"/_viewer/volume/{token}").status == 404


def test_a_volume_erased_before_it_could_be_encoded_answers_404(
    client: Client, store: ScanStore, study: Owner
) -> None:
    def too_late() -> Payload:
        raise ForgottenError("gone")

    token = store.publish("anna", study, {"WT": too_late})["WT"]
    assert client.get(f"/_viewer/volume/{token}").status == 404


def test_code_is_served_as_what_it_is(client: Client) -> None:
    script, style = client.get(f"/{CODE}/main.js"), client.get(f"/{CODE}/viewer.css")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in script.headers["cache-control"]


@pytest.mark.parametrize("name", ["package.json", "../routes.py", "nothing.js", ".."])
def test_nothing_but_the_front_end_is_served(client: Client, name: str) -> None:
    assert client.get(f"/{CODE}/{name}").status == 404
