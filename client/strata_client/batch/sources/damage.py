"""What the libraries that read a source raise over damaged bytes, in the words of `errors`."""

import contextlib
from collections.abc import Iterator

from strata_client.errors import InvalidArgument, ResourceExhausted, StrataError


@contextlib.contextmanager
def explained(name: str, expected: str) -> Iterator[None]:
    """Raise an error of ours, with the source's name, for whatever is raised over what it holds.

    Args:
        name: of the source, for people.
        expected: what it should be, such as `a tar`.

    Raises:
        InvalidArgument: it is something else, or damaged.
        OSError: it cannot be read.
    """
    try:
        yield
    except (InvalidArgument, ResourceExhausted) as error:
        raise type(error)(f"{name}: {error}") from error
    except StrataError:
        raise
    except OSError as error:
        # What decompresses has errors of this kind for damaged bytes, as pyarrow has; those of a disk have numbers.
        if error.errno is not None:
            raise
        raise _explain(name, expected, error) from error
    except Exception as error:  # numpy, zipfile, pyarrow and each compression have kinds of their own
        raise _explain(name, expected, error) from error


def _explain(name: str, expected: str, error: Exception) -> InvalidArgument:
    return InvalidArgument(f"{name}: expected {expected}; {str(error) or type(error).__name__}")
