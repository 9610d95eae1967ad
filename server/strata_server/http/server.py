import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from strata_server.http.connection import Connection

_MOST_HEADER_BYTES = 2**15  # that are kept while more of them come


class HttpServer:
    """Serves an application on one port, from a thread of its own."""

    def __init__(self, listening: socket.socket) -> None:
        """Take a socket that listens; other processes may accept from it as well."""
        self._socket = listening
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, app: ASGIApp) -> None:
        """Answer requests."""
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=15,
            h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join(timeout=5)
        self._socket.close()
