"""Keras on TensorFlow, without the noise that TensorFlow makes when it is imported."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def load_backend() -> None:
    """Import TensorFlow and Keras; what TensorFlow writes meanwhile is shown only if that fails."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_stderr():
        import keras  # noqa: F401 - imported to be silent
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        tf.constant(0)  # the first operation looks for devices, and says so


def seed_everything(seed: int) -> None:
    """Make what follows repeatable: the same seed gives the same weights."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hold back what is written to standard error, also from C++; an exception lets it through."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.lseek(held.fileno(), 0, os.SEEK_SET)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
