"""The 3-D U-Net. Nothing but the architecture."""

import keras
from keras import layers, ops

from model.config import UNetConfig
from utils.labels import Region
from utils.study import Modality

LOGITS = "unfold"
"""The layer whose outputs are the regions' logits."""
EPSILON = 1e-3  # keeps a channel that is constant, as in an empty corner, from being blown up


def build_unet(config: UNetConfig) -> keras.Model:
    """Build an untrained U-Net.

    It works on half the resolution: a strided convolution folds 2x2x2 voxels into features and a
    transposed one unfolds the result, so that a whole head fits into a single call on a CPU while
    the output is still one value per voxel.

    Returns
    -------
    keras.Model
        (N, I, J, K, 4) float32 in [0, 1] to (N, I, J, K, 3) float32 probabilities of the nested
        regions; I, J and K free multiples of
        ``2 ** (config.depth + 1)``. Where Keras is set to ``channels_first``, channels come second;
        the weights are the same.
    """
    widths = [min(config.width * 2**level, config.max_width) for level in range(config.depth + 1)]
    shape = [None, None, None]
    inputs = keras.Input(
        [len(Modality), *shape] if _channel_axis() == 1 else [*shape, len(Modality)], name="scans"
    )
    x = layers.Conv3D(config.width, 4, 2, "same", use_bias=False, name="stem_conv")(inputs)
    x = _normalise(x, config, "stem")

    skips = []
    for level, width in enumerate(widths[:-1]):
        x = _convolve(x, width, config, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling3D(name=f"down{level}_pool")(x)

    x = _convolve(x, widths[-1], config, "bottom")

    for level, width in reversed(list(enumerate(widths[:-1]))):
        x = layers.Conv3DTranspose(width, 2, strides=2, name=f"up{level}_grow")(x)
        x = layers.Concatenate(_channel_axis(), name=f"up{level}_join")([skips[level], x])
        x = _convolve(x, width, config, f"up{level}")

    x = layers.Conv3DTranspose(len(Region), 2, strides=2, name=LOGITS)(x)
    # float32 whatever the policy: half precision cannot hold a small log-probability
    outputs = layers.Activation("sigmoid", dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, outputs, name="unet")


def _convolve(x: keras.KerasTensor, width: int, config: UNetConfig, name: str) -> keras.KerasTensor:
    """Two 3x3x3 convolutions, each normalised and activated."""
    for step in "ab":
        x = layers.Conv3D(width, 3, padding="same", use_bias=False, name=f"{name}{step}_conv")(x)
        x = _normalise(x, config, f"{name}{step}")
    return x


def _normalise(x: keras.KerasTensor, config: UNetConfig, name: str) -> keras.KerasTensor:
    """Normalisation over each head, which needs no large batch, or over the batch; leaky ReLU."""
    match config.normalisation:
        case "instance":
            x = InstanceNormalization(name=f"{name}_norm")(x)
        case "batch":
            x = layers.BatchNormalization(_channel_axis(), epsilon=EPSILON, name=f"{name}_norm")(x)
        case unknown:
            raise ValueError(f"normalisation is {unknown!r}; it must be 'instance' or 'batch'")
    return layers.LeakyReLU(negative_slope=0.01, name=f"{name}_relu")(x)


class InstanceNormalization(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Each channel of each head to mean 0 and variance 1, then a learnt scale and shift.

    What ``GroupNormalization(groups=-1)`` computes, without its detour over six axes, which
    OpenVINO cannot fuse: a seventh of the network's time.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[_channel_axis()]
        self.gamma = self.add_weight((channels,), initializer="ones", name="gamma")
        self.beta = self.add_weight((channels,), initializer="zeros", name="beta")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        first = _channel_axis() == 1
        x = ops.cast(inputs, "float32")  # half precision cannot hold a head's sum
        axes = (2, 3, 4) if first else (1, 2, 3)
        centred = x - ops.mean(x, axes, keepdims=True)
        variance = ops.mean(ops.square(centred), axes, keepdims=True)
        normal = centred / ops.sqrt(variance + EPSILON)
        shape = (-1, 1, 1, 1) if first else (-1,)
        scaled = normal * ops.reshape(self.gamma, shape) + ops.reshape(self.beta, shape)
        return ops.cast(scaled, self.compute_dtype)


def _channel_axis() -> int:
    return 1 if keras.config.image_data_format() == "channels_first" else -1
