"""The descriptor pool of the Open Inference messages and of Triton's model configuration.

tritonclient registers messages under the same names in protobuf's default pool, and a name can be registered once.
In a pool of their own both live in one process; proto/generate.py puts the generated modules into it.
"""

from google.protobuf.descriptor_pool import DescriptorPool

_POOL = DescriptorPool()


def Default() -> DescriptorPool:  # noqa: N802 - generated modules ask for their pool by this name
    """Return the pool."""
    return _POOL
