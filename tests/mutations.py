"""Messages made wrong: by their fields, so that what is inside is reached, and by their bytes."""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_DEEPEST = 6
_INTEGERS = (0, 1, 2, 3, 4, 13, 16, 64, 127, 128, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_REALS = (0.0, -0.0, 1.0, -1.5, 1e-45, 3.4e38, 1e308, math.inf, -math.inf, math.nan)
_WHOLE = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-1, 2**31 - 1),
}


class Mutator:
    """Draws wrong messages; the same seed draws the same ones."""

    def __init__(self, seed: int, words: Sequence[str]) -> None:
        """Take a seed, and words that mean something to whoever reads the messages."""
        self._random = Random(seed)  # noqa: S311 - no secret
        self._words = words

    def choose(self, weights: Sequence[int]) -> int:
        """Return a place, each as often as it weighs."""
        return self._random.choices(range(len(weights)), weights)[0]

    def mutate(self, seeds: Sequence[Message]) -> bytes:
        """Return the bytes of one of some messages after a few changes."""
        random = self._random
        message = type(seeds[0])()
        message.CopyFrom(random.choice(seeds))
        if random.random() < 0.1:
            message.MergeFrom(random.choice(seeds))
        kind = random.random()
        if kind < 0.7:
            for _ in range(random.choice((1, 1, 2, 4))):
                self._change(message, 0)
        data = bytearray(message.SerializeToString())
        if kind >= 0.6:
            for _ in range(random.choice((1, 1, 2, 4, 8))):
                self._spoil(data)
        return bytes(data)

    def _change(self, message: Message, depth: int) -> None:
        if not message.DESCRIPTOR.fields or depth > _DEEPEST:
            return
        # Each implementation of protobuf has types of its own for them.
        field = self._random.choice(cast("Sequence[FieldDescriptor]", message.DESCRIPTOR.fields))
        if self._random.random() < 0.1:
            message.ClearField(field.name)
        elif field.is_repeated:
            self._change_repeated(message, field, depth)
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            self._change(getattr(message, field.name), depth + 1)
        else:
            setattr(message, field.name, self._draw(field))

    def _change_repeated(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        values: Any = getattr(message, field.name)
        random = self._random
        if field.message_type and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            key = random.choice(list(values)) if values and random.random() < 0.5 else self._draw(entry["key"])
            if entry["value"].message_type:
                self._change(values[key], depth + 1)
            else:
                values[key] = self._draw(entry["value"])
        elif values and random.random() < 0.3:
            del values[random.randrange(len(values))]
        elif field.message_type:
            if not values or random.random() < 0.3:
                values.add().MergeFrom(random.choice(values) if values else type(values.add())())
            self._change(random.choice(values), depth + 1)
        elif values and random.random() < 0.5:
            values[random.randrange(len(values))] = self._draw(field)
        else:
            values.extend(self._draw(field) for _ in range(random.choice((1, 1, 3, 40))))

    def _draw(self, field: FieldDescriptor) -> Any:
        random = self._random
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                return random.randbytes(random.choice((0, 1, 4, 63, 64, 65, 128, 5000)))
            case FieldDescriptor.CPPTYPE_STRING:
                return random.choice(self._words)
            case FieldDescriptor.CPPTYPE_BOOL:
                return random.random() < 0.5
            case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
                return random.choice(_REALS)
        low, high = _WHOLE[field.cpp_type]
        return min(max(random.choice((1, 1, -1)) * random.choice(_INTEGERS), low), high)

    def _spoil(self, data: bytearray) -> None:
        random = self._random
        start = random.randrange(len(data) + 1)
        stop = min(len(data), start + random.choice((1, 1, 2, 8, 64)))
        spoil: Callable[[], Any] = random.choice(
            (
                lambda: data.__setitem__(slice(start, start + 1), bytes([random.randrange(256)])),
                lambda: data.__setitem__(slice(start, start), random.randbytes(random.choice((1, 2, 10)))),
                lambda: data.__delitem__(slice(start, stop)),
                lambda: data.__setitem__(slice(start, start), data[start:stop] * random.choice((1, 2, 100))),
                lambda: data.__delitem__(slice(start, None)),
                # A length or number far beyond what is there, and one that never ends.
                lambda: data.__setitem__(slice(start, stop), b"\xff" * random.choice((4, 9, 10)) + b"\x01"),
                # The ends of groups without a beginning, and the other way round.
                lambda: data.__setitem__(slice(start, start), bytes([8 * random.randrange(1, 16) + 3])),
                lambda: data.__setitem__(slice(start, start), bytes([8 * random.randrange(1, 16) + 4])),
            )
        )
        spoil()
