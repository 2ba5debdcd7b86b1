import gc
import threading
from collections.abc import Callable
from functools import partial

import pytest

from pages.components.viewer.encode import Payload
from pages.components.viewer.store import ScanStore


class Owner:
    """Stands for a study: something that can be weakly referenced."""


class World:
    """Which sessions are connected, and what time it is."""

    def __init__(self) -> None:
        self.connected = {"anna", "ben"}
        self.now = 0.0


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def store(world: World) -> ScanStore:
    return ScanStore(lambda session: session in world.connected, 60.0, lambda: world.now)


def encoder(body: bytes = b"x") -> dict[str, Callable[[], Payload]]:
    return {"flair": lambda: Payload(body, {})}


def test_a_published_volume_is_found_at_its_address(store: ScanStore) -> None:
    study = Owner()
    token = store.publish("anna", study, encoder(b"brain"))["flair"]
    pending = store.payload(token)
    assert pending is not None
    assert pending.result(5).body == b"brain"


def test_addresses_are_long_and_never_repeat(store: ScanStore) -> None:
    studies = [Owner() for _ in range(50)]
    tokens = {store.publish("anna", study, encoder())["flair"] for study in studies}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 43  # 32 random bytes


def test_publishing_the_same_study_again_encodes_nothing_and_keeps_its_address(
    store: ScanStore,
) -> None:
    study = Owner()
    calls = []
    encoders = {"flair": lambda: calls.append(1) or Payload(b"", {})}  # type: ignore[func-returns-value]
    first = store.publish("anna", study, encoders)
    store.payload(first["flair"]).result(5)  # type: ignore[union-attr]
    assert store.publish("anna", study, encoders) == first
    assert len(calls) == 1


def test_two_sessions_never_share_an_address(store: ScanStore) -> None:
    study = Owner()
    assert store.publish("anna", study, encoder()) != store.publish("ben", study, encoder())


def test_a_forgotten_study_is_gone_at_once_and_others_stay(store: ScanStore) -> None:
    erased, kept = Owner(), Owner()
    gone = store.publish("anna", erased, encoder())["flair"]
    stays = store.publish("anna", kept, encoder())["flair"]
    store.forget(erased)
    assert store.payload(gone) is None
    assert store.payload(stays) is not None


def test_forgetting_a_session_leaves_other_sessions_alone(store: ScanStore) -> None:
    study = Owner()
    annas = store.publish("anna", study, encoder())["flair"]
    bens = store.publish("ben", study, encoder())["flair"]
    store.forget_session("anna")
    assert store.payload(annas) is None
    assert store.payload(bens) is not None


def test_a_study_that_no_longer_exists_takes_its_volumes_with_it(store: ScanStore) -> None:
    study = Owner()
    token = store.publish("anna", study, encoder())["flair"]
    del study
    gc.collect()
    assert store.payload(token) is None


def test_a_closed_session_is_forgotten_after_the_grace_period_and_not_before(
    store: ScanStore, world: World
) -> None:
    study = Owner()
    token = store.publish("anna", study, encoder())["flair"]
    world.connected.remove("anna")
    world.now = 60.0
    store.sweep()
    assert store.payload(token) is not None
    world.now = 60.1
    store.sweep()
    assert store.payload(token) is None


def test_a_connected_session_is_kept_for_as_long_as_it_likes(
    store: ScanStore, world: World
) -> None:
    study = Owner()
    token = store.publish("anna", study, encoder())["flair"]
    for world.now in range(0, 100_000, 1000):
        store.sweep()
    assert store.payload(token) is not None


def test_a_session_that_comes_back_in_time_starts_a_new_grace_period(
    store: ScanStore, world: World
) -> None:
    study = Owner()
    token = store.publish("anna", study, encoder())["flair"]
    world.connected.remove("anna")
    world.now = 50.0
    store.sweep()
    world.connected.add("anna")
    store.sweep()
    world.connected.remove("anna")
    world.now = 105.0
    store.sweep()
    assert store.payload(token) is not None


def test_forgetting_cancels_what_is_still_waiting_to_be_encoded(store: ScanStore) -> None:
    gate = threading.Event()
    blocker, study = Owner(), Owner()

    def wait() -> Payload:
        gate.wait(10)
        return Payload(b"", {})

    store.publish("anna", blocker, {"a": wait, "b": wait})
    store.encode_all("anna", blocker)  # keeps both encoders busy
    waiting = store.payload(store.publish("anna", study, encoder())["flair"])
    store.forget(study)
    gate.set()
    assert waiting is not None
    assert waiting.cancelled()


def test_only_the_first_volume_is_encoded_unasked(store: ScanStore) -> None:
    study = Owner()
    calls = []

    def encode(name: str) -> Payload:
        calls.append(name)
        return Payload(name.encode(), {})

    tokens = store.publish("anna", study, {n: partial(encode, n) for n in ("flair", "t1", "t2")})
    first = store.payload(tokens["flair"])
    assert first is not None
    first.result(5)
    assert store.alive(tokens["t1"])
    assert calls == ["flair"]
    asked = store.payload(tokens["t2"])
    assert asked is not None
    assert asked.result(5).body == b"t2"
    assert calls == ["flair", "t2"]
    store.encode_all("anna", study)
    rest = store.payload(tokens["t1"])
    assert rest is not None
    rest.result(5)
    assert calls == ["flair", "t2", "t1"]
    store.forget(study)
    assert not any(map(store.alive, tokens.values()))
