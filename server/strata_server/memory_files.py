"""Files that lie in memory alone, for processes to share."""

import os
import tempfile


def make_memory_file(name: str, size: int) -> int:
    """Return the number of a new open file of zeros, which child processes may inherit.

    Args:
        name: tells it from others where open files are listed.
        size: in bytes; what is not written takes no memory.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create(name)
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, size)
    return file
