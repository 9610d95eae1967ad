"""Names of layers, classes and files as people may see them: whoever chose them may mean harm."""

from collections.abc import Collection


def split(text: str, known: Collection[str]) -> list[str]:
    """Return the names that commas separate; a name that is known may hold commas itself."""
    parts, names = text.split(","), []
    while parts:
        runs = (",".join(parts[:count]).strip() for count in range(len(parts), 1, -1))
        name = next((run for run in runs if run in known), parts[0].strip())
        names.append(name)
        del parts[: name.count(",") + 1]
    return [name for name in names if name]


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
