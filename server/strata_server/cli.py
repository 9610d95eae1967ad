"""The command strata-server."""

import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from strata_server.cpus import available_cpus
from strata_server.errors import StartError
from strata_server.logs import begin_logging
from strata_server.settings import BatchSettings, DeviceSettings, Limits, Settings, SliceSettings
from strata_server.stopping import Stopped, StopSignal
from strata_server.trials import Trials

_UNITS = {"": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}

_Group = TypeVar("_Group", Limits, DeviceSettings)
_Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def _setting(flag: str, *names: str, **details: Any) -> _Decorator:
    """Declare a flag; the environment variable STRATA_FLAG stands in for one that is not given."""
    variable = "STRATA_" + flag.partition("/")[0].removeprefix("--").replace("-", "_").upper()
    return click.option(flag, *names, envvar=variable, show_envvar=True, **{"show_default": True, **details})


class Names(click.ParamType[tuple[str, ...]]):
    """Names with commas between them."""

    name = "names"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - the signature of a type of click's
        ctx: click.Context | None,  # noqa: ARG002 - as above
    ) -> tuple[str, ...]:
        """Return the names."""
        return value if isinstance(value, tuple) else tuple(name.strip() for name in value.split(",") if name.strip())


class Bytes(click.ParamType[int]):
    """A number of bytes, such as 1073741824 or 1GiB."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        parts = re.fullmatch(r"\s*(\d{1,15})\s*(|KiB|MiB|GiB)\s*", value, re.IGNORECASE)
        if not parts:
            self.fail(f"expected bytes, such as 512MiB or 2GiB, received {value!r}", param, ctx)
        return int(parts[1]) * _UNITS[parts[2].upper()]


def _check_pairs(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Refuse an environment variable whose last pair is not whole, which click leaves out in silence."""
    if ctx.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT:
        words = os.environ[str(param.envvar)].split()
        if len(words) % 2:
            raise click.BadParameter(
                f"expected pairs of a model and its layers, received {' '.join(words)!r}", ctx, param
            )
    return value


def _check_prefix(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse what no key of shared memory can begin with."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise click.BadParameter(f"expected letters, digits and ._-, received {value!r}", ctx, param)
    return value


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
    help="HTTP: /v2, /docs, /healthz and /readyz; 0 takes a free port.",
)
@_setting(
    "--http-hosts",
    default=Settings.http_hosts,
    type=Names(),
    metavar="A,B",
    show_default="none",
    help="Names under which the HTTP port may be asked, beside addresses, localhost, this machine's name and --host; "
    "* for any.",
)
@_setting(
    "--threads",
    default=available_cpus,
    type=click.IntRange(1, 1024),
    show_default="the CPUs this process may use, divided among the workers",
    help="Threads that one run of a network may use.",
)
@_setting(
    "--spinning/--no-spinning",
    default=DeviceSettings.spinning,
    help="Let idle threads wait busily for the next run: a little faster, and the CPU is never idle.",
)
@_setting(
    "--device",
    default=DeviceSettings.device,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where networks run; auto takes CUDA where it works, and says which.",
)
@_setting(
    "--cuda-algorithm-search",
    default=DeviceSettings.cuda_algorithm_search,
    type=click.Choice(["heuristic", "exhaustive", "default"]),
    help="How cuDNN chooses a convolution; exhaustive measures anew for each shape.",
)
@_setting(
    "--cuda-memory",
    "cuda_memory_bytes",
    default=DeviceSettings.cuda_memory_bytes,
    type=Bytes(),
    show_default="all",
    help="Largest memory for activations and weights on the CUDA device, such as 8GiB.",
)
@_setting(
    "--slice-memory",
    "slice_memory_bytes",
    default=SliceSettings.memory_bytes,
    type=Bytes(),
    show_default="1GiB",
    help="Memory for the slices that are kept ready beside the predictions, of all models together.",
)
@_setting(
    "--slice-cache",
    default=SliceSettings.cache,
    type=click.Path(path_type=Path),
    show_default="none",
    help="A folder for slices as onnxruntime optimized them: after a restart they are ready in milliseconds.",
)
@_setting(
    "--slice-cache-bytes",
    default=SliceSettings.cache_bytes,
    type=Bytes(),
    show_default="4GiB",
    help="Largest size of that folder.",
)
@_setting(
    "--warm",
    default=SliceSettings.warm,
    nargs=2,
    multiple=True,
    metavar="MODEL[:VERSION] A,B",
    callback=_check_pairs,
    show_default=False,
    help="Make a slice from the inputs to layers before the server is ready; may be given several times.",
)
@_setting(
    "--repository",
    default=Settings.repository,
    type=click.Choice(["fixed", "explicit", "watch"]),
    help="How models change: not at all, by load and unload calls, or with the folder. All are loaded at the start.",
)
@_setting(
    "--repository-poll-s",
    default=Settings.repository_poll_s,
    type=click.IntRange(1, 3600),
    help="How often a watched folder is looked through, beside what the file system tells of it, in seconds.",
)
@_setting(
    "--load-timeout-s",
    default=Settings.load_timeout_s,
    type=click.IntRange(1, 86400),
    help="Longest time that loading a version may take, in seconds.",
)
@_setting(
    "--allow-external-data",
    default=Settings.allow_external_data,
    is_flag=True,
    help="Allow weights in other files than model.onnx, inside the version's folder.",
)
@_setting(
    "--allow-shared-memory",
    default=Settings.allow_shared_memory,
    is_flag=True,
    help="Let clients on this machine register shared memory for inputs and outputs.",
)
@_setting(
    "--shared-memory-prefix",
    default=Settings.shared_memory_prefix,
    callback=_check_prefix,
    help="What the keys of shared memory begin with that clients may register.",
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
    "--max-multiply-adds",
    default=Limits.max_multiply_adds,
    type=click.IntRange(min=1),
    help="Most that the run of one request may compute.",
)
@_setting(
    "--max-activation-bytes",
    default=Limits.max_activation_bytes,
    type=Bytes(),
    show_default="2GiB",
    help="Most that the run of one request may hold at a time: the layers asked, and what lies between.",
)
@_setting(
    "--batch-rows",
    default=BatchSettings.rows,
    type=click.IntRange(0, 65536),
    show_default="the fastest, measured when a version is loaded",
    help="Most rows that run together, of all requests; a larger request runs in tiles of that size.",
)
@_setting(
    "--batch-wait-us",
    default=BatchSettings.wait_us,
    type=click.IntRange(0, 1_000_000),
    help="Longest wait of a request for others to run with, in microseconds; without it batches form under load alone.",
)
@_setting(
    "--queue-rows",
    default=BatchSettings.queue_rows,
    type=click.IntRange(min=1),
    help="Most rows that wait for one model; more are refused until there is room.",
)
@_setting(
    "--queue-bytes",
    default=BatchSettings.queue_bytes,
    type=Bytes(),
    show_default="512MiB",
    help="Most bytes of rows that wait for one model.",
)
@_setting(
    "--workers",
    default=Settings.workers,
    type=click.IntRange(1, 256),
    help="Processes that share the ports, each with its share of the CPUs; one that dies is replaced.",
)
@_setting(
    "--worker-timeout-s",
    default=Settings.worker_timeout_s,
    type=click.IntRange(1, 3600),
    help="Longest silence of a worker before it is replaced, in seconds.",
)
@click.option("--worker", hidden=True, help="What the supervisor tells a worker.")
@_setting(
    "--transport",
    default=Settings.transport,
    type=click.Choice(["queue", "public"]),
    help="How gRPC is driven: by its completion queue, fast, or by grpcio's public server, a thread for each call.",
)
@_setting(
    "--drain-s",
    default=Settings.drain_s,
    type=click.IntRange(0, 3600),
    help="Longest wait for open calls when the server stops, in seconds.",
)
@click.version_option(package_name="strata-server", prog_name="strata-server")
def main(**given: Any) -> None:
    """Serve every layer of your networks.

    A request names where it enters the network and where it leaves; the server runs only the part between.
    """
    stop = StopSignal()  # before the imports, which take a second
    worker = given.pop("worker")
    _share_threads(given)
    settings = _build_settings(given)
    begin_logging()
    # Of less it tells for each request of a stranger that is none.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    try:
        if worker:
            from strata_server.serve import serve_as_worker
            from strata_server.worker import Place

            serve_as_worker(settings, stop, Place.read(worker))
        else:
            with Trials(settings) as trials:  # before the imports: it has to import them as well
                _serve(settings, stop, trials)
    except Stopped:
        return
    except StartError as error:
        click.echo(f"strata-server: {error}", err=True)
        sys.exit(1)


def _serve(settings: Settings, stop: StopSignal, trials: Trials) -> None:
    if settings.workers > 1:
        from strata_server.supervisor import Supervisor

        sys.exit(Supervisor(settings, sys.argv[1:], trials).run(stop))
    from strata_server.serve import serve

    serve(settings, stop, trials)


def _share_threads(given: dict[str, Any]) -> None:
    """Give each worker its share of the CPUs, unless it was said how many threads it has."""
    if click.get_current_context().get_parameter_source("threads") is ParameterSource.DEFAULT:
        given["threads"] = max(1, given["threads"] // given["workers"])


def _build_settings(given: dict[str, Any]) -> Settings:
    slices = SliceSettings(
        memory_bytes=given.pop("slice_memory_bytes"),
        cache=given.pop("slice_cache"),
        cache_bytes=given.pop("slice_cache_bytes"),
        warm=given.pop("warm"),
    )
    batches = BatchSettings(
        rows=given.pop("batch_rows"),
        wait_us=given.pop("batch_wait_us"),
        queue_rows=given.pop("queue_rows"),
        queue_bytes=given.pop("queue_bytes"),
    )
    return Settings(
        batches=batches, limits=_take(Limits, given), devices=_take(DeviceSettings, given), slices=slices, **given
    )


def _take(kind: type[_Group], given: dict[str, Any]) -> _Group:
    """Return a group of settings, made of the flags that have its fields' names."""
    return kind(**{each.name: given.pop(each.name) for each in fields(kind)})
