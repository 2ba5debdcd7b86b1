"""What runs the network: OpenVINO on a CPU, TensorFlow on a GPU, another backend when asked for.

The network is one Keras model and one weights file under all of them. TensorFlow is the reference;
EXPERIMENTS.md has what each costs. A process that only serves on a CPU never loads TensorFlow.
"""

import os
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras
    import openvino

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

NVIDIA_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # Linux, and Windows' Linux


def preferred_backend() -> str:
    """TensorFlow where there is a GPU and what TensorFlow needs for it, else OpenVINO."""
    # told without loading TensorFlow: requirements-gpu.txt brings a package `nvidia`
    if any(d.exists() for d in NVIDIA_DEVICES) and find_spec("nvidia"):
        return "tensorflow"
    return "openvino"


def choose_backend() -> str:
    """Settle Keras' backend for this process, and say which it is.

    ``KERAS_BACKEND`` decides where it is set; a process that has imported Keras, to train for
    instance, stays with what it has.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", preferred_backend())
    import keras

    if keras.backend.backend() == "openvino":
        # OpenVINO's own order; in the other one a head takes twice as long
        keras.config.set_image_data_format("channels_first")
    return str(keras.backend.backend())


def runner(model: "keras.Model", window: tuple[int, int, int]) -> Run:
    """Make a Keras model a function of one head.

    Parameters
    ----------
    model : keras.Model
        From `model.unet.build_unet`, trained or still in training.
    window : (i, j, k)
        Shape of the head.

    Returns
    -------
    callable
        (i, j, k, 4) float32 input to (i, j, k, 3) float32 region probabilities.
    """
    import keras

    if keras.backend.backend() == "openvino":
        return _compiled(model, window)
    return lambda tensor: np.asarray(model.predict_on_batch(tensor[None])[0])


def settings() -> dict[str, Any]:
    """How OpenVINO is to compute; where the processor multiplies bfloat16, in half the time."""
    from model.device import has_bfloat16  # Keras

    return {
        "PERFORMANCE_HINT": "LATENCY",  # one study at a time, on all cores
        "INFERENCE_PRECISION_HINT": "bf16" if has_bfloat16() else "f32",
        "ENABLE_CPU_PINNING": False,  # pinned threads wait for whatever else runs on their core
    }


def graph(model: "keras.Model", window: tuple[int, int, int]) -> "openvino.Model":
    """Translate a Keras model for OpenVINO, for one head of a fixed shape.

    It goes by way of a file, for which Keras has an interface; nobody else can write to it.
    """
    import keras
    import openvino

    edges = iter(window)
    shape = (1, *(n or next(edges) for n in model.input_shape[1:]))  # only channels are known
    signature = [keras.InputSpec(shape=shape, dtype="float32")]
    with TemporaryDirectory() as folder:
        file = str(Path(folder, "unet.xml"))
        model.export(file, "openvino", verbose=False, input_signature=signature)
        return openvino.Core().read_model(file, config={"ENABLE_MMAP": False})  # it is deleted


def _compiled(model: "keras.Model", window: tuple[int, int, int]) -> Run:
    """Compile for one shape; Keras would also do so, but with settings of its own."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    layouts = PrePostProcessor(graph(model, window))
    for side in (layouts.input(), layouts.output()):
        side.tensor().set_layout(openvino.Layout("NDHWC"))
        side.model().set_layout(openvino.Layout("NCDHW"))
    compiled = openvino.compile_model(layouts.build(), "CPU", settings())
    request = compiled.create_infer_request()
    lock = threading.Lock()  # a request has one set of buffers

    def run(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        with lock:
            try:
                return np.asarray(request.infer([tensor[None]], share_inputs=True)[0][0])
            finally:
                # 200 MB a network, which hold what it made of a patient's scans
                compiled.release_memory()

    return run
