"""The forms in which a result is kept."""

from strata_client.batch.blocks import Format
from strata_client.errors import InvalidArgument

NAMES = ("parquet", "npz", "zarr")


def open_format(where: str, name: str = "") -> Format:
    """Return a format by its name, or by how the result's name ends: `.npz`, `.zarr`, and Parquet for all else.

    Args:
        where: the result's path or URL.
        name: one of `NAMES`; empty where the ending decides.

    Raises:
        InvalidArgument: there is no such format.
        MissingExtra: a package that it needs is not installed.
    """
    ending = where.rstrip("/").rpartition(".")[2].lower()
    name = name or (ending if ending in NAMES else "parquet")
    # Each format imports a package of its own, which takes a second.
    if name == "parquet":
        from strata_client.batch.formats.parquet import Parquet  # noqa: PLC0415

        return Parquet()
    if name == "npz":
        from strata_client.batch.formats.npz import Npz  # noqa: PLC0415

        return Npz()
    if name == "zarr":
        from strata_client.batch.formats.zarr import Zarr  # noqa: PLC0415

        return Zarr()
    raise InvalidArgument(f"unknown format {name!r}; expected one of {', '.join(NAMES)}")
