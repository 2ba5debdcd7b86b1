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


def runtime() -> str:
    """Backend and device in words, e.g. ``"tensorflow on CPU"``."""
    return f"{keras.backend.backend()} on {'GPU' if has_gpu() else 'CPU'}"
