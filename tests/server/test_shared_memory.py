"""Shared memory: inputs are read from it and outputs written into it, and nothing that a client does to it hurts."""

import itertools
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from artifacts import SIDE, assert_close, tiny_answer, write_artifact
from open_inference import call, read_values, refusal_of, write_parameters, write_request
from processes import ServerProcess, serving
from strata_server.control import Json
from strata_server.errors import InvalidArgument
from strata_server.regions import Regions
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from waiting import wait_until
from wire import Stubs, connect

Floats = npt.NDArray[np.float32]
FOLDER = Path("/dev/shm")  # noqa: S108 - where shm_open has its files
IMAGE = np.random.default_rng(3).random((2, SIDE, SIDE, 1), np.float32)
INVALID = grpc.StatusCode.INVALID_ARGUMENT
names = (f"strata-test-{os.getpid()}-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that allows shared memory."""
    models = tmp_path_factory.mktemp("sharing")
    write_artifact(models)
    with serving(models, "--allow-shared-memory") as server:
        yield server


@pytest.fixture
def stubs(sharing: ServerProcess) -> Iterator[Stubs]:
    stubs = connect(sharing.grpc)
    yield stubs
    unregister(stubs)
    stubs.channel.close()


@pytest.fixture
def memory() -> Iterator[Path]:
    """4096 bytes of zeros, as shm_open makes them."""
    path = FOLDER / next(names)
    path.write_bytes(bytes(4096))
    yield path
    path.unlink(missing_ok=True)


def register(stubs: Stubs, name: str, key: str, byte_size: int = 4096, offset: int = 0) -> None:
    request = pb.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=offset, byte_size=byte_size)
    call(stubs, "SystemSharedMemoryRegister", request, pb.SystemSharedMemoryRegisterResponse)


def unregister(stubs: Stubs, name: str = "") -> None:
    request = pb.SystemSharedMemoryUnregisterRequest(name=name)
    call(stubs, "SystemSharedMemoryUnregister", request, pb.SystemSharedMemoryUnregisterResponse)


def list_regions(stubs: Stubs, name: str = "") -> dict[str, tuple[str, int, int]]:
    request = pb.SystemSharedMemoryStatusRequest(name=name)
    status = call(stubs, "SystemSharedMemoryStatus", request, pb.SystemSharedMemoryStatusResponse)
    return {each.name: (each.key, each.offset, each.byte_size) for each in status.regions.values()}


def place(region: str, byte_size: int, offset: int = 0) -> dict[str, Any]:
    return {
        "shared_memory_region": region,
        "shared_memory_byte_size": byte_size,
        "shared_memory_offset": offset,
    }


def request_from(place: dict[str, Any], outputs: Any = None, **fields: Any) -> pb.ModelInferRequest:
    tensor = {"name": "image", "datatype": "FP32", "shape": IMAGE.shape, "parameters": write_parameters(place)}
    return write_request(IMAGE, outputs or {"scores": {}}, inputs=[tensor], raw_input_contents=[], **fields)


def put(path: Path, data: bytes, offset: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_an_input_is_read_and_an_output_is_written(stubs: Stubs, memory: Path) -> None:
    register(stubs, "all", f"/{memory.name}")
    for turn in (1, 2, 3):  # the same request again reads what is there now
        image = IMAGE * np.float32(turn)
        put(memory, image.tobytes(), 64)
        answer = stubs.infer(
            request_from(
                place("all", IMAGE.nbytes, 64), {"double": place("all", IMAGE.nbytes, 1024), "scores": {}}, id=str(turn)
            )
        )
        first, second = answer.outputs
        assert (answer.id, first.name, list(first.shape), first.datatype) == (str(turn), "double", [2, 4, 4, 1], "FP32")
        assert first.parameters["shared_memory_region"].string_param == "all"
        assert first.parameters["shared_memory_byte_size"].int64_param == IMAGE.nbytes
        assert first.parameters["shared_memory_offset"].int64_param == 1024
        assert not second.parameters
        assert answer.raw_output_contents[0] == b""
        scores = np.frombuffer(answer.raw_output_contents[1], np.float32).reshape(second.shape)
        assert_close(scores, tiny_answer(image)["scores"])
        written = np.frombuffer(memory.read_bytes(), np.float32, IMAGE.size, 1024).reshape(IMAGE.shape)
        assert_close(written, 2 * image)
    assert memory.stat().st_size == 4096


def test_a_region_begins_where_it_was_said_to(stubs: Stubs, memory: Path) -> None:
    register(stubs, "part", memory.name, byte_size=IMAGE.nbytes, offset=100)
    put(memory, IMAGE.tobytes(), 100)
    assert_close(
        read_values(stubs.infer(request_from(place("part", IMAGE.nbytes))))["scores"], tiny_answer(IMAGE)["scores"]
    )
    assert list_regions(stubs) == {"part": (memory.name, 100, IMAGE.nbytes)}


def test_inputs_in_and_outside_of_shared_memory_stand_side_by_side(stubs: Stubs, memory: Path) -> None:
    # The image may come along: scores are computed from flat alone.
    flat = tiny_answer(IMAGE)["flat"]
    put(memory, IMAGE.tobytes())
    register(stubs, "all", memory.name)
    inputs = [
        {
            "name": "image",
            "datatype": "FP32",
            "shape": IMAGE.shape,
            "parameters": write_parameters(place("all", IMAGE.nbytes)),
        },
        {"name": "flat", "datatype": "FP32", "shape": flat.shape},
    ]
    request = write_request(IMAGE, {"scores": {}}, inputs=inputs, raw_input_contents=[(flat * 2).tobytes()])
    assert_close(read_values(stubs.infer(request))["scores"], 2 * tiny_answer(IMAGE)["scores"])


def test_classes_and_reductions_go_into_shared_memory_as_well(stubs: Stubs, memory: Path) -> None:
    register(stubs, "all", memory.name)
    outputs = {
        "predictions": {"classification": 1, **place("all", 200)},
        "flat": {"half": True, **place("all", 64, 1024)},
    }
    answer = stubs.infer(write_request(IMAGE, outputs))
    size = answer.outputs[0].parameters["shared_memory_byte_size"].int64_param
    raw = memory.read_bytes()
    assert size == 2 * 4 + sum(
        int.from_bytes(raw[start : start + 4], "little") for start in (0, 4 + int.from_bytes(raw[:4], "little"))
    )
    np.testing.assert_array_equal(
        np.frombuffer(raw, np.float16, 32, 1024).reshape(2, 16), tiny_answer(IMAGE)["flat"].astype(np.float16)
    )


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (place("all", 4097), "expected a part of the region's 4096 bytes, received 4097 bytes from 0"),
        (place("all", 128, 4000), "received 128 bytes from 4000"),
        (place("all", 2**63 - 1, 2**63 - 1), "expected a part of the region's 4096 bytes"),
        (place("all", -1), "expected a whole number from 0 up, received -1"),
        (place("all", 128, -1), "expected a whole number from 0 up, received -1"),
        (place("all", 100), "expected 128 bytes for (2, 4, 4, 1) float32, received 100"),
        ({"shared_memory_region": "all"}, "received one without the other"),
        ({"shared_memory_offset": 1}, "received one without the other"),
        ({**place("all", 128), "shared_memory_region": 1}, "expected a text"),
    ],
)
def test_a_part_that_is_not_there_is_not_read(stubs: Stubs, memory: Path, told: dict[str, Any], reason: str) -> None:
    register(stubs, "all", memory.name)
    code, details = refusal_of(stubs.infer, request_from(told))
    assert code is INVALID
    assert reason in details


def test_an_output_that_is_larger_than_its_part_is_refused_with_both_numbers(stubs: Stubs, memory: Path) -> None:
    register(stubs, "all", memory.name)
    outputs = {"flat": place("all", 128, 1024), "double": place("all", 127)}
    code, details = refusal_of(stubs.infer, write_request(IMAGE, outputs))
    assert code is INVALID
    assert "expected room for 128 bytes of an output, received 127 bytes" in details
    assert memory.read_bytes() == bytes(4096)


def test_memory_that_is_cut_short_is_an_error_and_never_made_larger(stubs: Stubs, memory: Path) -> None:
    register(stubs, "all", memory.name)
    os.truncate(memory, 100)
    for request in (
        request_from(place("all", IMAGE.nbytes)),
        write_request(IMAGE, {"double": place("all", 128, 2048)}),
    ):
        code, details = refusal_of(stubs.infer, request)
        assert code is INVALID
        assert "expected memory as large as its region, found less" in details
    assert memory.stat().st_size == 100
    os.truncate(memory, 4096)
    put(memory, IMAGE.tobytes())
    assert stubs.infer(request_from(place("all", IMAGE.nbytes))).outputs


def test_an_unknown_region_is_not_found_and_no_other_is_named(stubs: Stubs, memory: Path) -> None:
    register(stubs, "secret", memory.name)
    for ask in (
        lambda: stubs.infer(request_from(place("secre", 128))),
        lambda: list_regions(stubs, "secre"),
    ):
        code, details = refusal_of(ask)
        assert code is grpc.StatusCode.NOT_FOUND
        assert "secret" not in details
    unregister(stubs, "secre")  # nothing has that name afterwards, as was asked
    assert list(list_regions(stubs)) == ["secret"]


def test_a_region_that_is_unregistered_is_gone(stubs: Stubs, memory: Path, sharing: ServerProcess) -> None:
    for name in ("one", "two"):
        register(stubs, name, memory.name)
    code, _ = refusal_of(register, stubs, "one", memory.name)
    assert code is grpc.StatusCode.ALREADY_EXISTS
    unregister(stubs, "one")
    assert list(list_regions(stubs)) == ["two"]
    unregister(stubs)
    assert list_regions(stubs) == {}
    code, _ = refusal_of(stubs.infer, request_from(place("one", 128)))
    assert code is grpc.StatusCode.NOT_FOUND
    files = Path(f"/proc/{sharing.process.pid}/fd")
    wait_until(lambda: not any(map(is_shared, files.iterdir())))


def is_shared(file: Path) -> bool:
    try:
        return FOLDER in file.readlink().parents
    except FileNotFoundError:  # closed meanwhile
        return False


def count_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "other",
        "/other",
        "//strata",
        "/strata/../../etc/passwd",
        "strata/..",
        "../strata",
        "strata\0",
        "strata\n",
        "stratä",
        "strata" + "x" * 300,
    ],
)
def test_a_key_outside_of_the_prefix_is_refused(stubs: Stubs, key: str) -> None:
    code, details = refusal_of(register, stubs, "all", key)
    assert code is INVALID
    assert "expected a key that begins with '/strata'" in details


@pytest.mark.parametrize("name", ["", "a b", "../a", "a\nb", "x" * 129])
def test_a_region_has_a_name_that_can_be_told(stubs: Stubs, memory: Path, name: str) -> None:
    code, details = refusal_of(register, stubs, name, memory.name)
    assert code is INVALID
    assert "expected a region's name" in details


@pytest.mark.parametrize(
    ("offset", "byte_size"), [(0, 4097), (1, 4096), (4096, 1), (0, 0), (2**63, 1), (0, 2**64 - 1), (2**64 - 1, 2)]
)
def test_a_region_lies_inside_of_its_memory(stubs: Stubs, memory: Path, offset: int, byte_size: int) -> None:
    code, _ = refusal_of(register, stubs, "all", memory.name, byte_size, offset)
    assert code is INVALID
    assert list_regions(stubs) == {}


def test_links_pipes_folders_and_what_is_not_there_are_refused_alike(
    stubs: Stubs, memory: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(4096))
    paths = [FOLDER / next(names) for _ in range(6)]
    symbolic, hard, pipe, folder, plug, missing = paths
    symbolic.symlink_to(outside)
    os.link(memory, hard)
    os.mkfifo(pipe)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(plug))
        refusals = {refusal_of(register, stubs, "all", path.name) for path in paths}
    for path in (symbolic, hard, pipe, plug):
        path.unlink()
    folder.rmdir()
    ((code, details),) = refusals
    assert code is INVALID
    assert "expected the key of memory that exists" in details
    assert missing.name not in details
    assert outside.read_bytes() == bytes(4096)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_memory_of_another_user_is_refused(stubs: Stubs, memory: Path) -> None:
    os.chown(memory, 12345, -1)
    code, details = refusal_of(register, stubs, "all", memory.name)
    assert code is INVALID
    assert "belongs to the server's user" in details


def test_outputs_do_not_overlap(stubs: Stubs, memory: Path) -> None:
    register(stubs, "all", memory.name)
    outputs = {"double": place("all", IMAGE.nbytes, 100), "flat": place("all", IMAGE.nbytes, 100 + IMAGE.nbytes - 4)}
    code, text = refusal_of(lambda: stubs.infer(request_from(place("all", IMAGE.nbytes, 2048), outputs)))
    assert code is INVALID
    assert "expected outputs in parts that do not overlap, received 128 bytes from 100 and 128 from 224" in text


@pytest.mark.parametrize("is_replaced", [False, True], ids=["gone", "another"])
def test_a_region_that_a_new_worker_cannot_open_is_one_in_no_worker(
    tmp_path: Path, memory: Path, is_replaced: bool
) -> None:
    write_artifact(tmp_path / "models")
    kept = FOLDER / next(names)
    kept.write_bytes(bytes(4096))
    try:
        with serving(tmp_path / "models", "--allow-shared-memory", "--workers", "2") as server:
            stubs = [connect(server.grpc, alone=True) for _ in range(12)]
            register(stubs[0], "lost", memory.name)
            register(stubs[0], "kept", kept.name)
            memory.unlink()
            if is_replaced:
                memory.write_bytes(bytes(4096))
            victim = server.workers[0]
            victim.kill()
            wait_until(lambda: not victim.is_running() and len(server.workers) == 2)
            wait_until(lambda: {tuple(list_regions_anew(server)) for _ in range(12)} == {("kept",)})
            for each in stubs:
                each.channel.close()
    finally:
        kept.unlink()


def tell(regions: Regions, memory: Path) -> Json:
    """Return a region as a change tells it."""
    return {"key": memory.name, "offset": 0, "byte_size": 4096, "memory": regions.identify(memory.name, 0, 4096)}


def list_regions_anew(server: ServerProcess) -> list[str]:
    """Return the names of the regions over a connection of its own, to whichever worker that leads."""
    stubs = connect(server.grpc, alone=True)
    try:
        return sorted(list_regions(stubs))
    except grpc.RpcError as error:
        return [str(error.code())]  # it led to the one that has died
    finally:
        stubs.channel.close()


def test_the_number_of_regions_is_bounded(stubs: Stubs, memory: Path) -> None:
    for number in range(256):
        register(stubs, str(number), memory.name)
    code, details = refusal_of(register, stubs, "one-more", memory.name)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "expected at most 256 regions" in details
    unregister(stubs, "7")
    register(stubs, "one-more", memory.name)


def test_an_input_in_shared_memory_is_no_larger_than_a_message(tmp_path: Path, memory: Path) -> None:
    write_artifact(tmp_path)
    os.truncate(memory, 2**20)
    with serving(tmp_path, "--allow-shared-memory", "--max-message-bytes", "65536") as server:
        stubs = connect(server.grpc)
        register(stubs, "all", memory.name, 2**20)
        code, details = refusal_of(stubs.infer, request_from(place("all", 65537)))
        stubs.channel.close()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "expected at most 65536 bytes, received 65537" in details


def test_the_operator_chooses_the_prefix(tmp_path: Path, memory: Path) -> None:
    write_artifact(tmp_path)
    with serving(tmp_path, "--allow-shared-memory", "--shared-memory-prefix", "mine") as server:
        stubs = connect(server.grpc)
        code, details = refusal_of(register, stubs, "all", memory.name)
        stubs.channel.close()
    assert code is INVALID
    assert "begins with '/mine'" in details


def test_without_the_flag_nothing_is_registered_and_nothing_is_there(tiny: ServerProcess, memory: Path) -> None:
    stubs = connect(tiny.grpc)
    assert list_regions(stubs) == {}
    unregister(stubs)  # all of none: clients begin so, whether they will use any or not
    for ask in (
        lambda: register(stubs, "all", memory.name),
        lambda: unregister(stubs, "all"),
        lambda: list_regions(stubs, "all"),
        lambda: stubs.infer(request_from(place("all", 128))),
    ):
        code, details = refusal_of(ask)
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "--allow-shared-memory" in details
    stubs.channel.close()


def test_cuda_shared_memory_is_unimplemented_and_there_is_none_of_it(stubs: Stubs) -> None:
    status = call(
        stubs, "CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest(), pb.CudaSharedMemoryStatusResponse
    )
    assert not status.regions
    call(
        stubs,
        "CudaSharedMemoryUnregister",
        pb.CudaSharedMemoryUnregisterRequest(),
        pb.CudaSharedMemoryUnregisterResponse,
    )
    for name, request in (
        ("Register", pb.CudaSharedMemoryRegisterRequest(name="all", raw_handle=b"x", byte_size=1)),
        ("Unregister", pb.CudaSharedMemoryUnregisterRequest(name="all")),
        ("Status", pb.CudaSharedMemoryStatusRequest(name="all")),
    ):
        code, _ = refusal_of(call, stubs, f"CudaSharedMemory{name}", request, pb.CudaSharedMemoryStatusResponse)
        assert code is grpc.StatusCode.UNIMPLEMENTED


def test_a_client_that_cuts_its_memory_short_again_and_again_gets_errors_and_the_server_serves_on(
    stubs: Stubs, memory: Path
) -> None:
    register(stubs, "all", memory.name)
    done = threading.Event()

    def cut() -> None:
        while not done.is_set():
            os.truncate(memory, 0)
            os.truncate(memory, 4096)

    cutter = threading.Thread(target=cut)
    cutter.start()
    request = request_from(place("all", IMAGE.nbytes), {"double": place("all", IMAGE.nbytes, 2048)})
    codes = set()
    for _ in range(500):
        try:
            stubs.infer(request)
        except grpc.RpcError as error:
            codes.add(error.code())
    done.set()
    cutter.join()
    assert codes <= {INVALID}
    assert memory.stat().st_size == 4096
    put(memory, IMAGE.tobytes())
    assert stubs.infer(request).outputs


def test_what_holds_a_region_that_is_unregistered_uses_it_to_the_end(memory: Path) -> None:
    regions = Regions("strata", max_bytes=4096)
    change = {"all": tell(regions, memory)}
    regions.prepare(change)
    assert regions.all == {}
    regions.commit(change)
    held = regions.find("all")
    regions.prepare({"all": None})
    regions.commit({"all": None})
    assert regions.all == {}
    held.write(10, b"late")
    assert (held.read(10, 4), memory.read_bytes()[10:14]) == (b"late", b"late")


def test_a_change_that_is_abandoned_leaves_nothing_open(memory: Path) -> None:
    regions = Regions("strata", max_bytes=4096)
    before = count_files()
    change = {"all": tell(regions, memory)}
    regions.prepare(change)
    assert count_files() == before + 1
    regions.abandon(change)
    with pytest.raises(InvalidArgument):
        regions.prepare({**change, "other": {"key": "elsewhere", "offset": 0, "byte_size": 1}})
    assert count_files() == before
    assert regions.all == {}
