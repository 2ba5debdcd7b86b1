"""The 3-D U-Net. Nothing but the architecture."""

from collections.abc import Sequence

import keras
from keras import layers

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
        (N, I, J, K, 4) float32, z-scores over the brain and 0 outside, to (N, I, J, K, 3) float32
        probabilities of the nested regions; I, J and K free multiples of ``config.stride``. Where
        Keras is set to ``channels_first``, channels come second; the weights are the same.
    """
    widths = [min(config.width * 2**level, config.max_width) for level in range(config.depth + 1)]
    shape = [None, None, None]
    inputs = keras.Input(
        [len(Modality), *shape] if _channel_axis() == 1 else [*shape, len(Modality)], name="scans"
    )
    x = layers.Conv3D(config.width, 4, 2, "same", use_bias=False, name="stem_conv")(inputs)
    x = _normalise(x, "stem")

    skips = []
    for level, width in enumerate(widths[:-1]):
        x = _convolve(x, width, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling3D(name=f"down{level}_pool")(x)

    x = _convolve(x, widths[-1], "bottom")

    for level, width in reversed(list(enumerate(widths[:-1]))):
        x = layers.Conv3DTranspose(width, 2, strides=2, name=f"up{level}_grow")(x)
        x = layers.Concatenate(_channel_axis(), name=f"up{level}_join")([skips[level], x])
        x = _convolve(x, width, f"up{level}")

    x = layers.Conv3DTranspose(len(Region), 2, strides=2, name=LOGITS)(x)
    # float32 whatever the policy: half precision cannot hold a small log-probability
    outputs = layers.Activation("sigmoid", dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, outputs, name="unet")


def mean_of(models: Sequence[keras.Model]) -> keras.Model:
    """One network that gives the mean of what several give; they must be of one input shape.

    As one, they share the memory for what they compute on the way.
    """
    if len(models) == 1:
        return models[0]
    scans = keras.Input(models[0].input_shape[1:], name="scans")
    found = [
        keras.Model(model.input, model.output, name=f"unet{number}")(scans)  # names must differ
        for number, model in enumerate(models)
    ]
    return keras.Model(scans, layers.Average(name="mean")(found), name="mean_unet")


def _convolve(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Two 3x3x3 convolutions, each normalised and activated."""
    for step in "ab":
        x = layers.Conv3D(width, 3, padding="same", use_bias=False, name=f"{name}{step}_conv")(x)
        x = _normalise(x, f"{name}{step}")
    return x


def _normalise(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Normalisation over the batch, which sees the same in a patch as in a head; leaky ReLU."""
    x = layers.BatchNormalization(_channel_axis(), epsilon=EPSILON, name=f"{name}_norm")(x)
    return layers.LeakyReLU(negative_slope=0.01, name=f"{name}_relu")(x)


def _channel_axis() -> int:
    return 1 if keras.config.image_data_format() == "channels_first" else -1
