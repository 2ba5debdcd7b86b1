"""What the backend runs on. Keras' own list of devices does not exist under every backend."""

import keras


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
    if has_gpu():
        return "mixed_float16"
    if keras.backend.backend() == "torch":
        import torch

        if torch.cpu._is_avx512_bf16_supported():  # emulated, it is slower than float32
            return "mixed_bfloat16"
    return "float32"


def backend_and_device() -> str:
    """What the provenance calls the runtime, e.g. ``"openvino on CPU"``."""
    return f"{keras.backend.backend()} on {'GPU' if has_gpu() else 'CPU'}"
