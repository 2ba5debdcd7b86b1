"""What runs the network: OpenVINO on a CPU, TensorFlow on a GPU, another backend when asked for.

The network is one Keras model and one weights file under all of them. TensorFlow is the reference;
EXPERIMENTS.md has what each costs. A process that only serves on a CPU never loads TensorFlow.
"""

import os
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
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

_ANY_EDGE = 64  # that the network takes; what is translated is reshaped for each head
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


def runner(model: "keras.Model") -> Run:
    """Make a Keras model a function of one head.

    Parameters
    ----------
    model : keras.Model
        From `model.unet.build_unet`, trained or still in training.

    Returns
    -------
    callable
        (i, j, k, 4) float32 input to (i, j, k, 3) float32 region probabilities; each axis a
        multiple of `UNetConfig.stride`.
    """
    import keras

    if keras.backend.backend() == "openvino":
        return _compiled(model)
    if keras.backend.backend() == "tensorflow":
        model.jit_compile = False  # every head has its own shape, and XLA would compile for each
    return lambda tensor: np.asarray(model.predict_on_batch(tensor[None])[0])


def settings() -> dict[str, Any]:
    """How OpenVINO is to compute; where the processor multiplies bfloat16, in half the time."""
    from model.device import has_bfloat16  # Keras

    return {
        "PERFORMANCE_HINT": "LATENCY",  # one study at a time, on all cores
        "INFERENCE_PRECISION_HINT": "bf16" if has_bfloat16() else "f32",
        "ENABLE_CPU_PINNING": False,  # pinned threads wait for whatever else runs on their core
    }


def graph(model: "keras.Model") -> "openvino.Model":
    """Translate a Keras model for OpenVINO; it takes (1, i, j, k, 4), whatever the head's shape.

    It goes by way of a file, for which Keras has an interface; nobody else can write to it.
    """
    import keras
    import openvino
    from openvino.preprocess import PrePostProcessor

    shape = (1, *(n or _ANY_EDGE for n in model.input_shape[1:]))  # only channels are known
    signature = [keras.InputSpec(shape=shape, dtype="float32")]
    with TemporaryDirectory() as folder:
        file = str(Path(folder, "unet.xml"))
        model.export(file, "openvino", verbose=False, input_signature=signature)
        found = openvino.Core().read_model(file, config={"ENABLE_MMAP": False})  # it is deleted
    _untie(found)
    layouts = PrePostProcessor(found)
    for side in (layouts.input(), layouts.output()):
        side.tensor().set_layout(openvino.Layout("NDHWC"))
        side.model().set_layout(openvino.Layout("NCDHW"))
    return layouts.build()


def _untie(model: "openvino.Model") -> None:
    """Let transposed convolutions follow their input: Keras writes down what shape they give."""
    from openvino import opset16

    for node in model.get_ordered_ops():
        if node.get_type_name() == "ConvolutionBackpropData":
            scans, kernel = node.input_value(0), node.input_value(1)
            free = opset16.convolution_backprop_data(scans, kernel, **node.get_attributes())
            node.output(0).replace(free.output(0))


def _compiled(model: "keras.Model") -> Run:
    """Compile for the shape of each head; Keras would also do so, but with settings of its own.

    That takes an eighth of what the network takes; padded to the largest, most take a quarter more.
    """
    import openvino

    translated = graph(model)
    lock = threading.Lock()  # one shape at a time, and one set of buffers

    @lru_cache(maxsize=1)  # heads are seldom of one shape, windows of a head and patches are
    def compiled(shape: tuple[int, ...]) -> "openvino.CompiledModel":
        translated.reshape([1, *shape])
        return openvino.compile_model(translated, "CPU", settings())

    def run(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        with lock:
            network = compiled(tensor.shape)
            try:
                # one of its own, for it keeps what it answers: a patient's probabilities
                request = network.create_infer_request()
                return np.asarray(request.infer([tensor[None]], share_inputs=True)[0][0])
            finally:
                # 200 MB a network, which hold what it made of a patient's scans
                network.release_memory()

    return run
