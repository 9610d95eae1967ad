"""Protobuf's encoding of fields that have a length, where a message is not worth its parsing."""

SHORT = 0x80
"""A length below it takes one byte."""


def tag(number: int) -> int:
    """Return the tag of such a field; its number is below 16."""
    return number << 3 | 2


def write_length(number: int, length: int) -> bytes:
    """Return what stands before the bytes of a field: its tag and its length."""
    mark = bytearray([tag(number)])
    while length >= SHORT:
        mark.append(length & 0x7F | SHORT)
        length >>= 7
    mark.append(length)
    return bytes(mark)
