"""The libraries' own messages, kept from a user who cannot act on them."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Import TensorFlow and what comes with it inside this block, silently.

    TensorFlow writes to standard error while it is loaded, from C++ and before any setting of its own counts.
    When the import fails, all that was written is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Whatever a user's Keras is set to: the conversion goes through TensorFlow.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # what it reports is checked in the graph itself
    sys.stderr.flush()
    with tempfile.TemporaryFile() as written, _redirected(written.fileno()) as stderr:
        try:
            yield
        except Exception:
            written.seek(0)
            os.write(stderr, written.read())
            raise


@contextlib.contextmanager
def _redirected(target: int) -> Iterator[int]:
    """Lead standard error elsewhere, and give a descriptor of where it went before."""
    before = os.dup(2)
    os.dup2(target, 2)
    try:
        yield before
    finally:
        os.dup2(before, 2)
        os.close(before)
