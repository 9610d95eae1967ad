"""How far an epoch is, on a terminal."""

import keras
from rich.progress import Progress, TaskID

from strata_training.terminal import is_terminal


class ProgressBar(keras.callbacks.Callback):  # type: ignore[misc] # Keras has no types
    """A bar that fills with the steps of an epoch and is gone after it; nothing where nobody watches."""

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self._progress = Progress(transient=True, disable=not is_terminal())
        self._task: TaskID | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's
        """Show an empty bar."""
        self._progress.start()
        self._task = self._progress.add_task(f"epoch {epoch + 1}", total=self.params["steps"])

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's
        """Fill it by a step."""
        if self._task is not None:
            self._progress.update(self._task, completed=batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's
        """Take it away."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._progress.stop()
