"""The command strata-server."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from strata_server.cpus import available_cpus
from strata_server.errors import StartError
from strata_server.settings import Limits, Settings
from strata_server.stopping import Stopped, StopSignal

_Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def _setting(flag: str, **details: Any) -> _Decorator:
    """Declare a flag; the environment variable STRATA_FLAG stands in for one that is not given."""
    variable = "STRATA_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, envvar=variable, show_envvar=True, **{"show_default": True, **details})


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@_setting(
    "--models",
    required=True,
    type=click.Path(path_type=Path),
    help="The model repository: a folder with NAME/VERSION/model.onnx inside.",
)
@_setting("--host", default=Settings.host, help="Address to listen on; 0.0.0.0 for every interface.")
@_setting(
    "--grpc-port",
    default=Settings.grpc_port,
    type=click.IntRange(0, 65535),
    help="gRPC; 0 takes a free port.",
)
@_setting(
    "--http-port",
    default=Settings.http_port,
    type=click.IntRange(0, 65535),
    help="HTTP, /healthz and /readyz; 0 takes a free port.",
)
@_setting(
    "--threads",
    default=available_cpus,
    type=click.IntRange(1, 1024),
    show_default="the CPUs this process may use",
    help="Threads that one run of a network may use.",
)
@_setting(
    "--max-slices",
    default=Settings.max_slices,
    type=click.IntRange(min=1),
    help="Slices of one version that are kept ready, the prediction not counted.",
)
@_setting(
    "--max-message-bytes",
    default=Limits.max_message_bytes,
    type=click.IntRange(1024, 2**31 - 1),
    help="Largest request, decoded input and answer.",
)
@_setting(
    "--max-image-pixels",
    default=Limits.max_image_pixels,
    type=click.IntRange(min=1),
    help="Largest pictures of one request together.",
)
@_setting(
    "--drain-s",
    default=Settings.drain_s,
    type=click.IntRange(0, 3600),
    help="Longest wait for open calls when the server stops, in seconds.",
)
@click.version_option(package_name="strata-server", prog_name="strata-server")
def main(*, max_message_bytes: int, max_image_pixels: int, **settings: Any) -> None:
    """Serve every layer of your networks.

    A request names where it leaves the network; the server runs only the part up to there.
    """
    stop = StopSignal()  # before the imports, which take a second
    from strata_server.serve import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    limits = Limits(max_message_bytes=max_message_bytes, max_image_pixels=max_image_pixels)
    try:
        serve(Settings(limits=limits, **settings), stop)
    except Stopped:
        return
    except StartError as error:
        click.echo(f"strata-server: {error}", err=True)
        sys.exit(1)
