"""A way to a server on which answers can be held up."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class HoldingProxy:
    """Forwards one connection; of what the server sends, no more than `free_bytes` until it is released."""

    def __init__(self, address: str, free_bytes: int) -> None:
        host, port = address.rsplit(":", 1)
        self._server = (host, int(port))
        self._free_bytes = free_bytes
        self._released = threading.Event()
        self.held = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def release(self) -> None:
        """Let everything through from now on."""
        self._released.set()

    def run(self) -> None:
        """Forward until both sides have closed."""
        client, _ = self._listener.accept()
        with client, socket.create_connection(self._server) as server:
            upward = threading.Thread(target=self._forward, args=(client, server))
            upward.start()
            self._forward(server, client, self._free_bytes)
            upward.join()

    def close(self) -> None:
        """Take no connection any more."""
        self.release()
        self._listener.close()

    def _forward(self, source: socket.socket, sink: socket.socket, free_bytes: int | None = None) -> None:
        passed = 0
        with contextlib.suppress(OSError):  # either side may close first
            while data := source.recv(2**16):
                sink.sendall(data)
                passed += len(data)
                if free_bytes is not None and passed >= free_bytes and not self._released.is_set():
                    self.held.set()
                    self._released.wait(60)
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def holding(address: str, free_bytes: int) -> Iterator[HoldingProxy]:
    """Run a proxy as long as the block lasts."""
    proxy = HoldingProxy(address, free_bytes)
    thread = threading.Thread(target=proxy.run)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(20)
