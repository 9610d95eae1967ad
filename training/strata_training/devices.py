"""Which devices share the work of one training step."""

import contextlib
from contextlib import AbstractContextManager

import tensorflow as tf


def scope(strategy: str) -> AbstractContextManager[object]:
    """Return the block in which a model has to be built: `mirrored` puts it on every GPU, or every logical CPU."""
    if strategy == "none":
        return contextlib.nullcontext()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    mirrored: AbstractContextManager[object] = tf.distribute.MirroredStrategy(
        [device.name for device in devices]
    ).scope()
    return mirrored
