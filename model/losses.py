"""What training minimises."""

import keras
from keras import ops


def dice_cross_entropy(
    truth: keras.KerasTensor, probabilities: keras.KerasTensor
) -> keras.KerasTensor:
    """Binary cross-entropy plus one minus the soft Dice, averaged over the three regions.

    Dice is taken over the whole batch: a region missing from one sample then neither divides by
    zero nor swamps the others. It weighs a small region as much as a large one, which is the
    answer to the class imbalance; cross-entropy keeps the gradient smooth.

    Parameters
    ----------
    truth, probabilities : (N, I, J, K, 3) tensors
        Region membership, 0 or 1, and its predicted probability.
    """
    truth = ops.cast(truth, "float32")
    entropy = ops.mean(keras.losses.binary_crossentropy(truth, probabilities))
    return entropy + 1 - ops.mean(_soft_dice(truth, probabilities))


def _soft_dice(truth: keras.KerasTensor, probabilities: keras.KerasTensor) -> keras.KerasTensor:
    """(3,) Dice of each region over the batch, with probabilities in place of membership."""
    axes = (0, 1, 2, 3)
    overlap = ops.sum(truth * probabilities, axes)
    total = ops.sum(truth, axes) + ops.sum(probabilities, axes)
    return (2 * overlap + 1) / (total + 1)
