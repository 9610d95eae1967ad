import contextlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifacts import SIDE
from PIL import Image
from processes import ServerProcess
from strata.v1 import catalog_pb2_grpc, inference_pb2_grpc, repository_pb2_grpc
from strata_client import Client

Handlers = dict[str, Callable[[Any, grpc.ServicerContext], Any]]
Peer = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def client(tiny: ServerProcess) -> Iterator[Client]:
    """Ask the server of the tiny artifact."""
    with Client(tiny.grpc) as client:
        yield client


@pytest.fixture
def peer() -> Peer:
    """Serve strata.v1 with answers of one's own, so that they can be wrong ones; gives the address.

    With credentials the port is a secure one.
    """

    @contextlib.contextmanager
    def serve(handlers: Handlers, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
        catalog, inference = catalog_pb2_grpc.CatalogServiceServicer, inference_pb2_grpc.InferenceServiceServicer
        repository = repository_pb2_grpc.RepositoryServiceServicer
        servicer: Any = type("Peer", (catalog, inference, repository), {})()
        for method, handler in handlers.items():
            setattr(servicer, method, handler)
        with ThreadPoolExecutor(2) as threads:
            server = grpc.server(threads)
            catalog_pb2_grpc.add_CatalogServiceServicer_to_server(servicer, server)
            inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
            repository_pb2_grpc.add_RepositoryServiceServicer_to_server(servicer, server)
            anywhere = "127.0.0.1:0"
            port = server.add_secure_port(anywhere, credentials) if credentials else server.add_insecure_port(anywhere)
            server.start()
            yield f"127.0.0.1:{port}"
            server.stop(0).wait(10)

    return serve


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A PNG file of the tiny artifact's size, every pixel different."""
    path = tmp_path / "picture.png"
    Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) * 16).save(path)
    return path


@pytest.fixture
def encoded(picture: Path) -> io.BytesIO:
    """The same picture as an open file."""
    return io.BytesIO(picture.read_bytes())
