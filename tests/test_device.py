"""Each backend is asked for its GPU in its own words; none of them needs one, or itself, here."""

import sys
from itertools import product
from types import ModuleType, SimpleNamespace
from typing import Any

import keras
import pytest

from model import device

GPUS = SimpleNamespace(
    tensorflow=lambda there: {
        "config": SimpleNamespace(list_physical_devices=lambda kind: [kind] if there else [])
    },
    torch=lambda there: {"cuda": SimpleNamespace(is_available=lambda: there)},
    jax=lambda there: {"default_backend": lambda: "gpu" if there else "cpu"},
)


def run_under(monkeypatch: pytest.MonkeyPatch, backend: str, **attributes: Any) -> None:
    """Let Keras say it runs on a backend, and that backend consist of these attributes."""
    module = ModuleType(backend)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, backend, module)
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_a_gpu_is_seen_under_every_backend(
    monkeypatch: pytest.MonkeyPatch, backend: str, there: bool
) -> None:
    run_under(monkeypatch, backend, **getattr(GPUS, backend)(there))
    assert device.has_gpu() is there
    assert device.backend_and_device() == f"{backend} on {'GPU' if there else 'CPU'}"


@pytest.mark.parametrize(
    ("can", "told"),
    [(["FP32", "BF16"], "openvino on CPU, bfloat16"), (["FP32", "INT8"], "openvino on CPU")],
)
def test_openvino_runs_on_the_cpu_and_says_with_how_many_bits(
    monkeypatch: pytest.MonkeyPatch, can: list[str], told: str
) -> None:
    asked = {("CPU", "OPTIMIZATION_CAPABILITIES"): can}
    core = SimpleNamespace(get_property=lambda *what: asked[what])
    run_under(monkeypatch, "openvino", Core=lambda: core)
    assert device.backend_and_device() == told


@pytest.mark.parametrize(
    ("backend", "gpu", "bfloat16", "policy"),
    [
        ("tensorflow", True, False, "mixed_float16"),
        ("tensorflow", False, True, "float32"),
        ("torch", True, True, "mixed_bfloat16"),
        ("torch", True, False, "mixed_float16"),
        ("torch", False, True, "mixed_bfloat16"),
        ("torch", False, False, "float32"),
        ("jax", True, True, "mixed_bfloat16"),
        ("jax", True, False, "mixed_float16"),
        ("jax", False, True, "float32"),
    ],
)
def test_training_halves_the_bits_only_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, backend: str, gpu: bool, bfloat16: bool, policy: str
) -> None:
    attributes = getattr(GPUS, backend)(gpu)
    if backend == "torch":
        attributes["cpu"] = SimpleNamespace(_is_avx512_bf16_supported=lambda: bfloat16)
        attributes["cuda"].is_bf16_supported = lambda including_emulation: bfloat16
    if backend == "jax":
        capability = "9.0" if bfloat16 else "7.5"
        attributes["devices"] = lambda: [SimpleNamespace(compute_capability=capability)]
    run_under(monkeypatch, backend, **attributes)
    assert device.precision() == policy


def test_operations_are_compiled_under_jax_only(monkeypatch: pytest.MonkeyPatch) -> None:
    run_under(monkeypatch, "jax", jit=lambda function: ("compiled", function))
    assert device.compiled(len) == ("compiled", len)
    run_under(monkeypatch, "torch")
    assert device.compiled(len) is len


def test_a_training_step_is_replayed_only_where_torch_has_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        sys.modules,
        "model.cuda_graph",
        SimpleNamespace(Replayed=lambda step: ("replayed", step)),
    )
    cudnn = SimpleNamespace(benchmark=False)
    for backend, there in product(("tensorflow", "torch", "jax"), (True, False)):
        attributes = getattr(GPUS, backend)(there) | {"backends": SimpleNamespace(cudnn=cudnn)}
        with monkeypatch.context() as patch:
            run_under(patch, backend, **attributes)
            whole = backend == "torch" and there
            assert device.replayed(len) == (("replayed", len) if whole else len)
    assert cudnn.benchmark
