"""What the backend runs on. Keras' own list of devices does not exist under every backend."""

from collections.abc import Callable
from typing import Any, TypeVar

import keras

F = TypeVar("F", bound=Callable[..., Any])


def has_gpu() -> bool:
    """Whether the backend in use has a GPU."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow

            return bool(tensorflow.config.list_physical_devices("GPU"))
        case "torch":
            import torch

            return bool(torch.cuda.is_available())
        case "jax":
            import jax

            return bool(jax.default_backend() != "cpu")
        case _:
            return False


def precision() -> str:
    """The Keras policy to train under: half the bits where that is twice as fast."""
    if has_bfloat16():
        return "mixed_bfloat16"
    return "mixed_float16" if has_gpu() else "float32"


def has_bfloat16() -> bool:
    """Whether what the backend runs on multiplies bfloat16; emulated, it is slower than float32."""
    match keras.backend.backend():
        case "torch":
            import torch

            if has_gpu():
                return bool(torch.cuda.is_bf16_supported(including_emulation=False))
            return bool(torch.cpu._is_avx512_bf16_supported())
        case "jax":
            import jax

            return has_gpu() and float(jax.devices()[0].compute_capability) >= 8
        case "openvino":
            import openvino

            return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        case _:
            return False


def compiled(function: F) -> F:
    """Compile under JAX, which dispatches operations slowly one by one; as it is elsewhere."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)  # type: ignore[no-any-return]


def replayed(step: F) -> F:
    """Record a training step under torch on a GPU, and from then on replay it whole."""
    if keras.backend.backend() != "torch" or not has_gpu():
        return step
    import torch

    from model.cuda_graph import Replayed

    torch.backends.cudnn.benchmark = True  # few shapes, each met thousands of times
    return Replayed(step)  # type: ignore[return-value]


def backend_and_device() -> str:
    """What the provenance calls the runtime, e.g. ``"openvino on CPU, bfloat16"``."""
    backend = keras.backend.backend()
    rounded = ", bfloat16" if backend == "openvino" and has_bfloat16() else ""
    return f"{backend} on {'GPU' if has_gpu() else 'CPU'}{rounded}"
