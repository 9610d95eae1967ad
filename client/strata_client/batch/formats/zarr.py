"""Results as a Zarr group of format 3: `DEST.zarr`, with arrays of `Layout.group_rows` rows in each chunk.

The arrays are `key`, `label`, `error_code` and `error` (text, empty where a row has none), `score` (float32, NaN where
a row has none), and one for each `Column`; every chunk has a checksum. A layer whose name no path can hold is an array
whose name is that of a URL, as `block%2Fconv`; its attribute `name` is the layer's. The group's attribute `strata` has
the job's fingerprint.

A part counts as done when its file is in the folder `DEST.zarr.parts/`, which is written last. It is not in the group
itself, because zarr warns of files there that are not its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import numpy as np

from strata_client.activity import Array
from strata_client.batch.blocks import NAMED, Block, Found, Layout, Part, assemble, regroup
from strata_client.batch.place import Place
from strata_client.errors import InvalidArgument, MissingExtra

try:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import FsspecStore, LocalStore
except ModuleNotFoundError as error:
    raise MissingExtra("batch", "zarr") from error

_BESIDE = ".parts"
_ATTRIBUTE = "strata"
_SAFE = " !#$&'()+,;=@[]^`{}~:"
_LEFT = ".partial"
"""How the names end under which zarr writes a chunk, and which a killed process leaves."""


class Zarr:
    """A group of arrays, in which each part has chunks of its own."""

    name = "zarr"

    def locate(self, where: str) -> Place:
        """Return the folder that says which parts are done, beside the group and named after it."""
        return Place(f"{where.rstrip('/')}{_BESIDE}")

    def prepare(self, place: Place, layout: Layout, fingerprint: str) -> None:
        """Make the folder, the group and its arrays.

        Raises:
            InvalidArgument: the group is of another job, or damaged.
            OSError: they cannot be made.
        """
        place.make()
        data = _data(place)
        if not data.exists("zarr.json"):
            if others := data.list():
                raise InvalidArgument(f"{data.where}: expected a Zarr group or nothing; it holds {others[0]}")
            _forget(place)
            with _explained(data):
                zarr.create_group(_store(data), zarr_format=3, attributes={_ATTRIBUTE: {"fingerprint": fingerprint}})
        with _explained(data):
            group = _open(data)
            _check_owner(group, data, fingerprint)
            for node, attributes in _describe_arrays(layout).items():
                if node not in group:
                    group.create_array(node, **attributes)
                _clean(data, node)

    def find(self, place: Place, part: Part) -> Found | None:
        """Look for a finished part: what says that it is done, and whether its chunks are there.

        Raises:
            InvalidArgument: it is damaged.
        """
        name = _name(part)
        if not place.exists(name):
            return None
        data = _data(place)
        with place.open(name) as file, _explained(place, name):
            done = json.loads(file.read())
            changed = [chunk for chunk, size in done["chunks"].items() if data.size(chunk) != size]
            if changed or done["part"] != part.number:
                raise ValueError(f"it is not of {changed or 'this part'}")
            return Found(str(done["fingerprint"]), int(done["rows"]), int(done["failed"]))

    def write(self, place: Place, layout: Layout, part: Part, fingerprint: str, blocks: Iterable[Block]) -> Found:
        """Write the chunks of a part, then that it is done; one that was done is not from the first chunk on."""
        data = _data(place)
        group, failed, chunks = _open(data), 0, list[str]()
        for number, block in enumerate(regroup(blocks, layout, part), part.start // layout.group_rows):
            place.remove(_name(part))  # not before the rows are there, which may be read from the part itself
            chunks += _write_block(group, data, block, layout, number)
            failed += block.failed
            del block  # before the next one is made: it may be large
        # A chunk of zeros alone is no file.
        data.settle(chunk for chunk in chunks if data.exists(chunk))
        counts = {"fingerprint": fingerprint, "part": part.number, "rows": part.rows, "failed": failed}
        done = {**counts, "chunks": {chunk: data.size(chunk) for chunk in chunks}}
        with place.replacing(_name(part)) as file:
            file.write(json.dumps(done).encode())
        return Found(fingerprint, part.rows, failed)

    def read(self, place: Place, layout: Layout, part: Part) -> Iterator[Block]:
        """Read a part, a chunk of each array at a time."""
        data = _data(place)
        if not place.exists(_name(part)):
            raise FileNotFoundError(f"{place.name(_name(part))}: expected a finished part")
        with _explained(data):
            group = _open(data)
        for start in range(part.start, part.stop, layout.group_rows):
            stop = min(start + layout.group_rows, part.stop)
            with _explained(data):
                names = [*NAMED, *(column.name for column in layout.columns)]
                arrays = {name: np.asarray(group[_node(name)][start:stop]) for name in names}
                block = assemble(arrays, layout)
            yield block

    def finish(self, place: Place, layout: Layout, fingerprint: str) -> None:
        """Nothing is left to do."""


def _write_block(group: Any, data: Place, block: Block, layout: Layout, number: int) -> list[str]:
    """Write one chunk of every array, and return their names."""
    chunks = []
    start = number * layout.group_rows
    for node, values in _to_arrays(block, layout).items():
        chunks.append(_chunk(node, number, values.ndim))
        if len(block) < layout.group_rows:
            data.remove(chunks[-1])  # zarr would read what stood there, to complete it, and that may be damaged
        group[node][start : start + len(block)] = values
    return chunks


def _data(place: Place) -> Place:
    return Place(place.where.removesuffix(_BESIDE))


def _name(part: Part) -> str:
    return f"part-{part.number:05}.json"


def _node(name: str) -> str:
    """Return the name of an array: what no path holds, or Zarr has for itself, becomes `%2F` and the like."""
    node = quote(name, safe=_SAFE)
    if node in {"", ".", "..", "zarr.json"} or node.startswith("__"):
        return f"%{ord(node[0]):02X}{node[1:]}" if node else "%00"
    return node


def _chunk(node: str, number: int, dimensions: int) -> str:
    return f"{node}/c.{'.'.join([str(number), *['0'] * (dimensions - 1)])}"


def _store(data: Place) -> LocalStore | FsspecStore:
    return FsspecStore.from_url(data.where) if data.folder is None else LocalStore(data.folder)


def _open(data: Place) -> Any:
    return zarr.open_group(_store(data), mode="r+", zarr_format=3)


@contextmanager
def _explained(place: Place, name: str = "") -> Iterator[None]:
    try:
        yield
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
    ) as error:  # zarr and its codecs raise all of these
        what = " ".join(str(error).split()) or type(error).__name__
        raise InvalidArgument(f"{place.name(name).rstrip('/')} is damaged: remove it; {what}") from error


def _check_owner(group: Any, data: Place, fingerprint: str) -> None:
    own = group.attrs.get(_ATTRIBUTE)
    if own is None:
        raise InvalidArgument(f"{data.where} is there already, and no batch made it: choose another name")
    if own["fingerprint"] != fingerprint:
        raise InvalidArgument(f"{data.where} is the result of another job: choose another name")


def _forget(place: Place) -> None:
    """Remove what says that parts are done of a group that is gone."""
    for name in place.list():
        if name.startswith("part-") and name.endswith(".json"):
            place.remove(name)


def _clean(data: Place, node: str) -> None:
    for name in data.list(node):
        if name.endswith(_LEFT):
            data.remove(f"{node}/{name}")


def _describe_arrays(layout: Layout) -> dict[str, dict[str, Any]]:
    """Return how each array is made, by its name in the group."""
    shapes: dict[str, tuple[Any, tuple[int, ...], Any]] = dict.fromkeys(NAMED, (str, (), ""))
    shapes["score"] = (np.dtype(np.float32), (), np.nan)
    shapes |= {column.name: (column.dtype, column.shape, column.dtype.type(0)) for column in layout.columns}
    return {
        _node(name): {
            "dtype": dtype,
            "shape": (layout.rows, *shape),
            "chunks": (layout.group_rows, *(max(1, size) for size in shape)),
            "fill_value": fill,
            "compressors": [ZstdCodec(level=1), Crc32cCodec()],
            "chunk_key_encoding": {"name": "default", "separator": "."},  # a folder for each chunk otherwise
            "dimension_names": ["row", *(f"{name}_{axis}" for axis in range(len(shape)))],
            "attributes": {"name": name},
        }
        for name, (dtype, shape, fill) in shapes.items()
    }


def _to_arrays(block: Block, layout: Layout) -> dict[str, Array]:
    """Return the rows of all arrays, by their names in the group."""
    texts = block.texts().items()
    arrays: dict[str, Array] = {
        name: np.array([text or "" for text in column], np.dtypes.StringDType()) for name, column in texts
    }
    arrays["score"] = np.array([np.nan if score is None else score for score in block.scores], np.float32)
    return arrays | {_node(column.name): block.tensors[column.name] for column in layout.columns}
