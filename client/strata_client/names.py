"""Names of layers, classes and files as people may see them: whoever chose them may mean harm."""


def escape(text: str) -> str:
    r"""Return text that moves no cursor and hides nothing: a control character becomes `\x1b`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def shorten(text: str, length: int) -> str:
    """Return escaped text of at most `length` characters; its middle gives way: ends tell names apart."""
    text = escape(text)
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"
