"""Other model servers, each with what the digits CNN and ResNet50 need and the settings that suit it best."""

import base64
import http.client
import json
import shutil
import time
from pathlib import Path
from typing import ClassVar

import grpc
import numpy as np

from benchmarks.field.cases import Case, Floats
from benchmarks.field.contenders import Contender, Models, write_whole_graph
from benchmarks.field.environments import SERVERS, Environment, make_environment
from benchmarks.field.processes import find_port

_START_S = 60.0
_LAYERS = {"digits": "conv1", "resnet50": "conv1_relu"}


class Rival(Contender):
    """A server in an environment of its own."""

    requirements: tuple[str, ...]
    environment_name = ""
    """Of several that share one."""
    ready = ""

    def __init__(self, models: Models, folder: Path) -> None:
        """Install it where it is not yet, and start it.

        Raises:
            RuntimeError: it cannot be installed, or does not answer.
        """
        name = self.environment_name or self.name.lower().replace(" ", "-")
        self.environment: Environment = make_environment(name, self.requirements)
        self.folder = folder / self.name.replace(",", "").replace(" ", "-")
        self.folder.mkdir()
        super().__init__(models, folder)
        self._wait()

    @property
    def terms(self) -> dict[str, str]:
        """NAME=MODEL.onnx[:LAYER] for each model: the prediction alone, and a layer of the graph with all."""
        terms = {name: f"{name}={each.prediction}" for name, each in self.models.exports.items()}
        for name, each in self.models.exports.items():
            terms[f"{name}-layers"] = f"{name}-layers={each.artifact}:{_LAYERS[name]}"
        return terms

    def environ(self) -> dict[str, str]:
        """The environment of the process."""
        return {**self.environment.variables, "FIELD_MODELS": " ".join(self.terms.values())}

    def body(self, case: Case, images: Floats) -> bytes:
        """Ask the all-layers graph for a layer."""
        return write_whole_graph(case, images)

    def script(self, name: str, *ports: int) -> list[str]:
        """Return what starts one of the servers beside this file."""
        return [self.environment.command("python"), str(SERVERS / name), *map(str, ports), *self.terms.values()]

    def _wait(self) -> None:
        case = Case("digits", 1, 1)
        end = time.monotonic() + _START_S
        while True:
            try:
                self.ask(case, case.draw(0))
                return
            except (grpc.RpcError, OSError, RuntimeError, http.client.HTTPException) as error:
                failed = str(error.details() if isinstance(error, grpc.Call) else error)
            if time.monotonic() > end or not self.process.is_alive:
                is_alive = self.process.is_alive
                self.process.end()
                raise RuntimeError(failed if is_alive else self.process.last_words)
            time.sleep(0.2)


class HttpRival(Rival):
    """One over HTTP/1.1, as many connections as requests at a time."""

    is_http = True
    content_type = "application/json"

    def url(self, case: Case) -> str:
        """Return the route of a model."""
        return f"http://127.0.0.1:{self.port}/{_model(case)}"

    def body(self, case: Case, images: Floats) -> bytes:  # noqa: ARG002 - as in Contender
        """Return JSON with base64."""
        return json.dumps({"data": base64.b64encode(images.tobytes()).decode()}).encode()

    def ask(self, case: Case, images: Floats) -> tuple[Floats, int]:
        """Return the answer to one request and its size."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        route = self.url(case).removeprefix(f"http://127.0.0.1:{self.port}")
        connection.request("POST", route, self.body(case, images), {"content-type": self.content_type})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status != http.client.OK:
            raise RuntimeError(f"HTTP {response.status}: {answer[:200]!r}")
        values = np.frombuffer(self.decode(answer), np.float32)
        return values.reshape(self.right_shape(case)), len(answer)

    def right_shape(self, case: Case) -> tuple[int, ...]:
        """Return the shape of an answer, which does not travel."""
        if not case.layer:
            return (case.rows, -1)
        return {"digits": (case.rows, 28, 28, -1), "resnet50": (case.rows, 112, 112, -1)}[case.network]

    def decode(self, answer: bytes) -> bytes:
        """Return the values of an answer."""
        return base64.b64decode(json.loads(answer)["data"])


class Mosec(HttpRival):
    """Mosec, one request at a time."""

    name = "Mosec, HTTP"
    environment_name = "mosec"
    requirements = ("mosec==0.9.8", "numpy")
    content_type = "application/octet-stream"
    batch = 1

    def command(self) -> list[str]:
        """Serve raw bytes."""
        flags = ("--address", "127.0.0.1", "--port", str(self.port), "--log-level", "warning", "--timeout", "60000")
        return [self.environment.command("python"), str(SERVERS / "mosec_server.py"), *flags]

    def environ(self) -> dict[str, str]:
        """Say how large batches are."""
        return {**super().environ(), "FIELD_BATCH": str(self.batch), "MOSEC_PORT": str(self.port)}

    def body(self, case: Case, images: Floats) -> bytes:  # noqa: ARG002 - as in Contender
        """Return the values."""
        return images.tobytes()

    def decode(self, answer: bytes) -> bytes:
        """Return the values."""
        return answer


class MosecBatches(Mosec):
    """Mosec with batches of 64 requests, and a wait of a millisecond."""

    name = "Mosec, HTTP, batches"
    batch = 64


class LitServe(HttpRival):
    """LitServe as its documentation starts it."""

    name = "LitServe, HTTP"
    requirements = ("litserve==0.2.19", "numpy")
    environment_name = "litserve"

    def command(self) -> list[str]:
        """Serve JSON."""
        return self.script("litserve_server.py", self.port)


class BentoMl(HttpRival):
    """BentoML."""

    name = "BentoML, HTTP"
    requirements = ("bentoml==1.4.39", "numpy")
    environment_name = "bentoml"

    def command(self) -> list[str]:
        """Serve JSON."""
        flags = ("--host", "127.0.0.1", "--port", str(self.port), "--working-dir", str(SERVERS))
        return [self.environment.command("bentoml"), "serve", "bentoml_server:Predict", *flags]

    def url(self, case: Case) -> str:  # noqa: ARG002 - as in Contender
        """Return the route of all models."""
        return f"http://127.0.0.1:{self.port}/predict"

    def body(self, case: Case, images: Floats) -> bytes:
        """Name the model as well."""
        data = base64.b64encode(images.tobytes()).decode()
        return json.dumps({"name": _model(case), "data": data}).encode()

    def environ(self) -> dict[str, str]:
        """Send nothing anywhere."""
        return {**super().environ(), "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(self.folder)}

    def decode(self, answer: bytes) -> bytes:
        """Return the values, which come as they are."""
        return base64.b64decode(answer)


class KServe(Rival):
    """KServe's Python server."""

    name = "KServe"
    requirements = ("kserve==0.21", "numpy")

    def command(self) -> list[str]:
        """Serve the Open Inference Protocol."""
        return self.script("kserve_server.py", self.port, find_port())


class RayServe(Rival):
    """Ray Serve."""

    name = "Ray Serve"
    requirements = ("ray[serve]==2.60.0", "grpcio-reflection<1.80", "tritonclient", "numpy")

    def command(self) -> list[str]:
        """Serve ModelInfer."""
        return self.script("ray_server.py", self.port, find_port())

    def environ(self) -> dict[str, str]:
        """Bear being stopped while others are measured, and send nothing anywhere."""
        patient = {"RAY_health_check_period_ms": "600000", "RAY_health_check_timeout_ms": "600000"}
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        return {**super().environ(), **patient, **quiet}


class MlServer(Rival):
    """MLServer as it is installed: inference in another process."""

    name = "MLServer"
    environment_name = "mlserver"
    requirements = ("mlserver==1.7.1", "uvloop<0.22", "numpy")
    settings: ClassVar[dict[str, object]] = {}

    def command(self) -> list[str]:
        """Serve a folder."""
        ports = {"grpc_port": self.port, "http_port": find_port(), "metrics_port": find_port()}
        places = {"host": "127.0.0.1", "metrics_dir": str(self.folder)}
        (self.folder / "settings.json").write_text(json.dumps({**places, **ports, **self.settings}))
        for name, term in self.terms.items():
            folder = self.folder / name
            folder.mkdir()
            model = {
                "name": name,
                "implementation": "mlserver_runtime.Runtime",
                "parameters": {"extra": {"term": term}},
            }
            (folder / "model-settings.json").write_text(json.dumps(model))
        return [self.environment.command("mlserver"), "start", str(self.folder)]


class MlServerTuned(MlServer):
    """MLServer that computes where it receives."""

    name = "MLServer, tuned"
    settings: ClassVar[dict[str, object]] = {"parallel_workers": 0, "debug": False, "metrics_endpoint": None}


class PyTriton(Rival):
    """NVIDIA's PyTriton, with its batcher."""

    name = "PyTriton"
    requirements = ("nvidia-pytriton==0.7.0", "numpy")

    def command(self) -> list[str]:
        """Serve functions."""
        return self.script("pytriton_server.py", self.port, find_port())


class Triton(Rival):
    """The Triton binary inside PyTriton's wheel, which has its python backend alone."""

    name = "Triton, python backend"
    environment_name = "pytriton"
    requirements = PyTriton.requirements

    def command(self) -> list[str]:
        """Serve a model repository."""
        triton = self.environment.packages / "pytriton" / "tritonserver"
        backends, repository = self.folder / "backends", self.folder / "models"
        shutil.copytree(triton / "backends" / "python", backends / "python")
        version = self.environment.packages.parent.name.removeprefix("python")
        stub = triton / "python_backend_stubs" / version / "triton_python_backend_stub"
        shutil.copy(stub, backends / "python" / stub.name)
        for name, term in self.terms.items():
            (repository / name / "1").mkdir(parents=True)
            shutil.copy(SERVERS / "triton_model.py", repository / name / "1" / "model.py")
            shutil.copy(SERVERS / "onnx_model.py", repository / name / "1")
            (repository / name / "config.pbtxt").write_text(_configure(name, term))
        flags = ("--allow-http=false", "--allow-metrics=false", "--grpc-address=127.0.0.1")
        places = (f"--model-repository={repository}", f"--backend-directory={backends}", f"--grpc-port={self.port}")
        return [str(triton / "bin" / "tritonserver"), *places, *flags]

    def environ(self) -> dict[str, str]:
        """Say where the wheel keeps its libraries: the copied backend does not find them."""
        variables = super().environ()
        libraries = self.environment.packages / "nvidia_pytriton.libs"
        return {**variables, "LD_LIBRARY_PATH": f"{libraries}:{variables['LD_LIBRARY_PATH']}"}


def _configure(name: str, term: str) -> str:
    side, channels, layer, output = (
        (28, 1, [28, 28, 25], [10]) if name.startswith("digits") else (224, 3, [112, 112, 64], [1000])
    )
    _, _, exit_name = term.partition(".onnx:")
    shape = layer if exit_name else output
    return (
        f'name: "{name}" backend: "python" max_batch_size: 64 dynamic_batching {{}}\n'
        f'input [{{ name: "image" data_type: TYPE_FP32 dims: [{side}, {side}, {channels}] }}]\n'
        f'output [{{ name: "{exit_name or "predictions"}" data_type: TYPE_FP32 dims: {shape} }}]\n'
        f'parameters {{ key: "term" value {{ string_value: "{term}" }} }}\n'
        "instance_group [{ kind: KIND_CPU count: 1 }]\n"
    )


def _model(case: Case) -> str:
    return f"{case.network}-layers" if case.layer else case.network


RIVALS: tuple[type[Rival], ...] = (
    Triton,
    PyTriton,
    KServe,
    MlServer,
    MlServerTuned,
    Mosec,
    MosecBatches,
    LitServe,
    BentoMl,
    RayServe,
)
