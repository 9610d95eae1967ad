"""The Open Inference Protocol with Triton's extensions, as tritonclient and KServe's clients call it.

A layer's name is a valid requested output; without requested outputs the prediction is answered.
"""

from strata_server.rpc.heads import Heads
from strata_server.rpc.methods import Method, Rpc, bind_methods
from strata_server.rpc.open_inference import open_inference_pb2 as pb
from strata_server.rpc.open_inference.configuration import model_config
from strata_server.rpc.open_inference.facilities import Facilities
from strata_server.rpc.open_inference.forms import infer_form, stream_form
from strata_server.rpc.open_inference.inference import fail_in_stream, has_elements, model_infer, model_stream_infer
from strata_server.rpc.open_inference.metadata import (
    model_metadata,
    model_ready,
    server_live,
    server_metadata,
    server_ready,
)
from strata_server.rpc.open_inference.operations import log_settings, trace_setting
from strata_server.rpc.open_inference.repository import (
    repository_index,
    repository_model_load,
    repository_model_unload,
)
from strata_server.rpc.open_inference.shared_memory import (
    cuda_register,
    cuda_status,
    cuda_unregister,
    system_register,
    system_status,
    system_unregister,
)
from strata_server.rpc.open_inference.statistics import model_statistics


def open_inference_services(facilities: Facilities) -> dict[str, list[Method]]:
    """Return the RPCs of inference.GRPCInferenceService, under its name."""
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    repository = facilities.engine.repository
    pause = facilities.traces.switch  # a request that leaves a trace is parsed: the trace says what it was
    rpcs = {
        "ServerLive": Rpc(server_live, is_heavy=_never),
        "ServerReady": Rpc(server_ready, is_heavy=_never),
        "ModelReady": Rpc(model_ready, is_heavy=_never),
        "ServerMetadata": Rpc(server_metadata),
        "ModelMetadata": Rpc(model_metadata),
        "ModelConfig": Rpc(model_config),
        "ModelStatistics": Rpc(model_statistics),
        "ModelInfer": Rpc(
            model_infer,
            is_heavy=has_elements,
            shortcut=Heads(infer_form(), repository, pause),
            is_inference=True,
        ),
        "ModelStreamInfer": Rpc(
            model_stream_infer,
            is_heavy=has_elements,
            shortcut=Heads(stream_form(), repository, pause),
            fail=fail_in_stream,
            is_inference=True,
        ),
        "RepositoryIndex": Rpc(repository_index),
        "RepositoryModelLoad": Rpc(repository_model_load),
        "RepositoryModelUnload": Rpc(repository_model_unload),
        "SystemSharedMemoryStatus": Rpc(system_status),
        "SystemSharedMemoryRegister": Rpc(system_register),
        "SystemSharedMemoryUnregister": Rpc(system_unregister),
        "CudaSharedMemoryStatus": Rpc(cuda_status),
        "CudaSharedMemoryRegister": Rpc(cuda_register),
        "CudaSharedMemoryUnregister": Rpc(cuda_unregister),
        "TraceSetting": Rpc(trace_setting),
        "LogSettings": Rpc(log_settings),
    }
    return {service.full_name: bind_methods(service, facilities, rpcs)}


def _never(request: object) -> bool:
    return False
