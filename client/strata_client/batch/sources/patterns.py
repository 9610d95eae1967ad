"""Which of the files beneath a folder are rows."""

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from strata_client.batch.sources.keys import write_key

_WILDCARD = re.compile(r"[*?[]")
_MOST_ENDINGS = 100  # told apart: strangers' files may have a million
_LONGEST_ENDING = 12

_Step = Callable[[str], object] | None
"""Matches a name; None is `**`, folders of any number."""


def has_wildcards(path: str) -> bool:
    """Say whether a path is a pattern of paths."""
    return _WILDCARD.search(path) is not None


def split_pattern(path: str) -> tuple[str, str]:
    """Return the folder in front of a pattern, as far as it has no wildcards, and the pattern beneath it."""
    names = path.split("/")
    first = next(index for index, name in enumerate(names) if has_wildcards(name))
    return "/".join(names[:first]) + "/", "/".join(names[first:])


FOLDER_LINK = "links to folders"
"""Stands among the endings of what is left out."""


class Wanted:
    """Chooses files, and counts those that it leaves.

    Args:
        endings: of files that are rows, lower-case.
        pattern: of their paths beneath the folder, as a shell knows it, with `**` for folders of any number; all
            of them where there is none. Hidden files are nobody's.
    """

    def __init__(self, endings: Collection[str], pattern: str = "**") -> None:
        self._endings = endings
        self._steps = _read_steps(pattern)
        self._is_all = self._steps == [None, None]
        self.skipped: Counter[str] = Counter()

    @property
    def depth(self) -> int | None:
        """How many names a path can have; None for any number."""
        return None if None in self._steps else len(self._steps)

    def enters(self, name: str, depth: int) -> bool:
        """Say whether rows may lie in a folder, which has `depth` folders above it."""
        if None in self._steps[: depth + 1]:
            return True
        step = self._steps[depth] if depth < len(self._steps) - 1 else None
        return step is not None and bool(step(name))

    def takes(self, path: str) -> bool:
        """Say whether a file is a row, by its path; if it is not only for its ending, it is counted."""
        if not self._is_all and not _fits(path.split("/"), self._steps):
            return False
        ending = read_ending(path)
        if ending in self._endings:
            return True
        self._skip(ending)
        return False

    def leave_link(self) -> None:
        """Count a link to a folder, which is not followed: it may lead round in a circle."""
        self.skipped[FOLDER_LINK] += 1

    def _skip(self, ending: str) -> None:
        is_known = ending in self.skipped or len(self.skipped) < _MOST_ENDINGS
        self.skipped[write_key(ending) if is_known and len(ending) <= _LONGEST_ENDING else ""] += 1


def describe_skipped(skipped: Mapping[str, int]) -> str:
    """Say how many files were left out, by their endings; some of the endings where there are many."""
    return ", ".join(f"{count:,} {ending or 'without an ending'}" for ending, count in sorted(skipped.items())[:5])


def read_ending(path: str) -> str:
    """Return the ending of a file, lower-case with its dot; nothing where it has none."""
    name = path[path.rfind("/") + 1 :]
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _read_steps(pattern: str) -> list[_Step]:
    names = pattern.split("/")
    steps: list[_Step] = []
    for name in names:
        if name != "**":
            steps.append(re.compile(fnmatch.translate(name)).match)
        elif steps[-1:] != [None]:
            steps.append(None)
    # Beneath the last `**`, any file will do.
    return [*steps, None] if steps[-1] is None else steps


def _fits(names: Sequence[str], steps: Sequence[_Step]) -> bool:
    if not steps or not names:
        return not steps and not names
    step = steps[0]
    if step is not None:
        return bool(step(names[0])) and _fits(names[1:], steps[1:])
    if len(steps) == 2 and steps[1] is None:
        return True
    return any(_fits(names[index:], steps[1:]) for index in range(len(names)))
