"""How long runs take, learned from those that were."""

_MEMORY = 0.9  # what an older run counts for with each new one
_FORGETTING = 1.02  # by how much the fastest run is taken to be slower with each new one


class Timing:
    """The time of a run as a line over its rows: so much for any, and so much for each row."""

    def __init__(self, seconds_per_row: float, fixed_s: float = 0.0) -> None:
        """Begin with a guess, which the first run replaces."""
        self.fixed_s = fixed_s
        self.row_s = seconds_per_row
        self._fastest_row_s = seconds_per_row
        self._runs = self._rows = self._seconds = self._squares = self._products = 0.0

    def note(self, rows: int, seconds: float) -> None:
        """Learn from a run; older ones fade."""
        self._fastest_row_s = min(self._fastest_row_s * _FORGETTING, seconds / rows)
        self._runs = self._runs * _MEMORY + 1
        self._rows = self._rows * _MEMORY + rows
        self._seconds = self._seconds * _MEMORY + seconds
        self._squares = self._squares * _MEMORY + rows * rows
        self._products = self._products * _MEMORY + rows * seconds
        spread = self._runs * self._squares - self._rows * self._rows
        proportional = self._seconds / self._rows
        if spread > 1e-3 * self._rows * self._rows:
            slope = (self._runs * self._products - self._rows * self._seconds) / spread
            self.row_s = min(max(slope, 0.0), proportional)
        else:  # runs of one size tell nothing of the others
            self.row_s = proportional
        self.fixed_s = max(0.0, (self._seconds - self.row_s * self._rows) / self._runs)

    def predict(self, rows: int) -> float:
        """Return how long a run of so many rows takes, in seconds."""
        return self.fixed_s + self.row_s * rows

    def at_best(self, rows: int) -> float:
        """Return how long a run takes that nothing disturbs, in seconds: on a busy machine much less than most."""
        return self._fastest_row_s * rows
