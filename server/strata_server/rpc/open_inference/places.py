from dataclasses import dataclass

from strata_server.errors import InvalidArgument, Unimplemented
from strata_server.regions import Region, Regions
from strata_server.rpc.open_inference.parameters import Parameters, read_count, read_text

REGION, OFFSET, BYTE_SIZE = PLACE_PARAMETERS = (
    "shared_memory_region",
    "shared_memory_offset",
    "shared_memory_byte_size",
)
NOT_ALLOWED = "shared memory is not served here; --allow-shared-memory allows it"


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in shared memory."""

    name: str
    """Of the region."""
    region: Region
    """Held for as long as a request may use it, also where it is unregistered meanwhile."""
    offset: int
    byte_size: int

    def read(self) -> bytes:
        """Return a copy of what is there; errors as in `Region.read`."""
        return self.region.read(self.offset, self.byte_size)

    def check_room(self, byte_size: int) -> None:
        """Check that an output fits.

        Raises:
            InvalidArgument: with both numbers.
        """
        if byte_size > self.byte_size:
            raise InvalidArgument(
                f"shared memory: expected room for {byte_size} bytes of an output, received {self.byte_size} bytes"
            )

    def write(self, data: bytes) -> None:
        """Put an output there, which fits; errors as in `Region.write`."""
        self.region.write(self.offset, data)


def read_place(parameters: Parameters, regions: Regions | None) -> Place | None:
    """Return where a tensor lies in shared memory; None for one that does not.

    Raises:
        InvalidArgument: the parameters do not belong together, or the region is smaller.
        NotFound: no region has that name.
        OverLimit: it is more than a message may hold.
        Unimplemented: shared memory is not allowed.
    """
    if not any(name in parameters for name in PLACE_PARAMETERS):
        return None
    if regions is None:
        raise Unimplemented(NOT_ALLOWED)
    if REGION not in parameters or BYTE_SIZE not in parameters:
        raise InvalidArgument(f"shared memory: expected {REGION} and {BYTE_SIZE}, received one without the other")
    name, byte_size = read_text(parameters, REGION), read_count(parameters, BYTE_SIZE)
    region, offset = regions.find(name), read_count(parameters, OFFSET)
    region.check_range(offset, byte_size)
    return Place(name, region, offset, byte_size)
