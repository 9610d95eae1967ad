"""Which layers of a network learn."""

import fnmatch
from collections.abc import Callable, Iterator, Sequence

import keras

from strata_training.errors import NotFound, unknown
from strata_training.functional import as_functional, calls


class Layers:
    """The layers of a network in their order, those of nested models as `outer/inner`."""

    def __init__(self, model: keras.Model) -> None:
        """Find them."""
        self._layers = dict(_walk(model, ""))
        self._places = {name: place for place, name in enumerate(self._layers)}

    @property
    def weighted(self) -> frozenset[str]:
        """Those that have weights."""
        return frozenset(self._weighted())

    @property
    def head(self) -> frozenset[str]:
        """The last one that has weights."""
        return frozenset(self._weighted()[-1:])

    def up_to(self, name: str) -> frozenset[str]:
        """Return a layer and all before it; none for an empty name.

        Raises:
            NotFound: there is no such layer.
        """
        if not name:
            return frozenset()
        if name not in self._layers:
            raise unknown("layer", name, self._layers)
        return frozenset(list(self._layers)[: self._places[name] + 1])

    def matching(self, patterns: Sequence[str]) -> frozenset[str]:
        """Return the layers whose names match a pattern, such as `conv1` or `block2_*`.

        Raises:
            NotFound: a pattern matches none.
        """
        found: set[str] = set()
        for pattern in patterns:
            names = fnmatch.filter(self._layers, pattern)
            if not names:
                raise unknown("layer", pattern, self._layers)
            found.update(names)
        return frozenset(found)

    def last(self, count: int, fixed: frozenset[str]) -> frozenset[str]:
        """Return the last layers before the head that have weights, but those that are fixed.

        Raises:
            NotFound: all of them are fixed.
        """
        learning = frozenset(self._weighted()[:-1][-count:]) - fixed
        if not learning:
            raise NotFound(
                f"none of the last {count} layers before the head may learn: all of them are frozen for good"
            )
        return learning

    def learners(self, names: frozenset[str]) -> Callable[[keras.Model], None]:
        """Return what lets these layers of the network, or of a copy of it, learn, and no others."""

        def prepare(model: keras.Model) -> None:
            model.trainable = True
            for name, layer in _walk(model, ""):
                layer.trainable = name in names

        return prepare

    def _weighted(self) -> list[str]:
        return [name for name, layer in self._layers.items() if layer.weights]


def _walk(model: keras.Model, prefix: str) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Give each layer once, at the first of its calls."""
    seen: set[int] = set()
    functional = as_functional(model)
    for call in calls(functional) if functional is not None else ():
        layer = call.layer
        if id(layer) in seen or not isinstance(layer, keras.layers.Layer):
            continue
        seen.add(id(layer))
        if isinstance(layer, keras.Model) and as_functional(layer) is not None:
            yield from _walk(layer, f"{prefix}{layer.name}/")
        else:
            yield f"{prefix}{layer.name}", layer
