"""What came of a batch, or of a part of it."""

from collections import Counter
from dataclasses import dataclass, field

from strata_client.batch.blocks import Block


@dataclass
class Summary:
    """Counts rows."""

    asked: int = 0
    """Rows that were asked for."""
    codes: Counter[str] = field(default_factory=Counter)
    """How many of them failed with each error code."""
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)
    """For each code the key of a row that failed with it, and the reason."""

    @property
    def failed(self) -> int:
        """How many have no answer."""
        return self.codes.total()

    def count(self, block: Block) -> None:
        """Count the rows of a block."""
        self.asked += len(block)
        if not block.failed:
            return
        for key, failure in zip(block.keys, block.failures, strict=True):
            if failure is not None:
                self.codes[failure.code] += 1
                self.examples.setdefault(failure.code, (key, failure.reason))

    def add(self, other: "Summary") -> None:
        """Count what another one has counted."""
        self.asked += other.asked
        self.codes += other.codes
        self.examples = other.examples | self.examples
