"""What a network learns from, as the pipelines that feed it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from strata_training.augmentation import add_shifted
from strata_training.data import DataSet, Rows
from strata_training.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of a data set."""

    inputs: npt.NDArray[Any]
    """Pictures, uint8 (rows, height, width, channels); or points, float32 (rows, features)."""
    labels: npt.NDArray[np.int64]
    """(rows,)"""
    preprocessing: Preprocessing | None
    """Of pictures."""
    classes: int

    def steps(self, batch_size: int) -> int:
        """Return how many batches hold every row once."""
        return math.ceil(len(self.labels) / batch_size)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Return every row once."""
        rows = tf.data.Dataset.range(len(self.labels)).batch(batch_size)
        return rows.map(self._gather(), num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def shuffled(self, batch_size: int, seed: int, first_epoch: int) -> tf.data.Dataset:
        """Return the rows of all epochs from one on, without end.

        The order in an epoch follows from the seed and the epoch alone: who goes on there sees what would have come.
        """
        count = len(self.labels)

        def order(epoch: tf.Tensor) -> tf.data.Dataset:
            places = tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed=[seed, epoch])
            return tf.data.Dataset.from_tensor_slices(places).batch(batch_size)

        rows = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(order)
        return rows.map(self._gather(), num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def _gather(self) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        # As tensors, which a pipeline refers to: arrays would be copied into its graph, which holds 2 GiB at most.
        with tf.device("CPU"):
            inputs, labels = tf.constant(self.inputs), tf.constant(self.labels)
        normalize = self.preprocessing.normalize if self.preprocessing else (lambda values: values)

        def gather(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            values = tf.cast(tf.gather(inputs, rows), tf.float32)
            return normalize(values), tf.one_hot(tf.gather(labels, rows), self.classes)

        return gather


def take(dataset: DataSet, rows: Rows, preprocessing: Preprocessing | None, shift: int = 0) -> Examples:
    """Return some rows of a data set, the pictures among them also moved by some pixels."""
    inputs, labels = dataset.inputs[rows], dataset.labels[rows]
    if dataset.is_pictures:
        inputs, labels = add_shifted(inputs, labels, shift)
    return Examples(inputs, labels, preprocessing, len(dataset.classes))
