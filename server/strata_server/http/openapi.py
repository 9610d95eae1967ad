"""The OpenAPI document of the HTTP port, made of the same table as its routes."""

import re
from importlib.metadata import version as distribution_version
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from strata_server.http.operations import OPERATIONS, Operation
from strata_server.http.page import make_page
from strata_server.http.schemas import Schema, make_schemas

_PARAMETERS = {
    "name": "A model, or a region of shared memory",
    "version": "A version's number, or a label",
}
_ERRORS = {
    "400": "The request cannot be meant: a wrong shape, type, number of bytes or combination",
    "403": "A web page of another origin asks",
    "404": "No such model, version, layer or region",
    "408": "The body did not come in time",
    "409": "What is asked contradicts what there is",
    "413": "The request or its answer is larger than a limit allows; it will never fit",
    "414": "The path is too long",
    "415": "The body has a type or a coding that is not read here",
    "421": "The Host header names another server",
    "429": "There is no room, or no time, behind the requests that wait; Retry-After says when to try again",
    "431": "The headers are too large",
    "500": "A defect of the server, which its log says more about under the number in the text",
    "501": "A part of the protocol that is not served here",
    "503": "The server is starting or stopping",
    "504": "The deadline was over before the request was run",
}
_TAGS = {
    "server": "Health, and what the server is",
    "inference": "Predictions, and the activations of any layer",
    "models": "What is served",
    "repository": "Changes of what is served",
    "operations": "Logs and traces",
    "shared memory": "Tensors that lie in memory of this machine",
}
_DESCRIPTION = (
    "The Open Inference Protocol (KServe V2) with Triton's extensions. A request names where it enters the network and "
    "where it leaves: any layer is a valid input and a valid output."
)


def make_document() -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {
        "/healthz": {"get": _probe("healthz", "Whether the process runs", "The word ok")},
        "/readyz": {"get": _probe("readyz", "Whether all workers take requests", "The word ready", lacking=True)},
        "/metrics": {"get": _probe("metrics", "What all workers have counted", "Metrics, as Prometheus reads them")},
        "/v2/health/live": {"get": _health("live", "Whether the server runs", "Live")},
        "/v2/health/ready": {"get": _health("ready", "Whether requests are taken, by all workers", "Ready")},
    }
    for operation in OPERATIONS:
        for path in operation.paths:
            paths.setdefault(path, {})[operation.method.lower()] = _write_operation(operation, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Strata",
            "version": distribution_version("strata-server"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": make_schemas()},
    }


def openapi_routes() -> list[Route]:
    """Return the routes of the document, and of its page."""
    document = make_document()
    body = orjson.dumps(document)
    page = make_page(document)

    async def openapi(request: Request) -> Response:
        return Response(body, media_type="application/json")

    async def docs(request: Request) -> Response:
        return Response(page.html, headers={"content-security-policy": page.policy}, media_type="text/html")

    async def root(request: Request) -> Response:
        return RedirectResponse("/docs")

    return [Route("/openapi.json", openapi), Route("/docs", docs), Route("/", root)]


def _reference(schema: str) -> Schema:
    return {"$ref": f"#/components/schemas/{schema}"}


def _json(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _reference(schema)}}}


def _health(name: str, summary: str, schema: str) -> dict[str, Any]:
    responses = {"200": _json("Yes", schema), **_errors("403", "421")}
    if schema == "Ready":
        responses["503"] = _json("No", schema)
    return {"operationId": name, "tags": ["server"], "summary": summary, "responses": responses}


def _probe(name: str, summary: str, answer: str, *, lacking: bool = False) -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    responses = {"200": {"description": answer, "content": text}, **_errors("403", "421")}
    if lacking:
        responses["503"] = {"description": "What is missing", "content": text}
    return {"operationId": name, "tags": ["server"], "summary": summary, "responses": responses}


def _write_operation(operation: Operation, path: str) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    written: dict[str, Any] = {
        "operationId": _identify(operation, path),
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {"200": _write_answer(operation), **_write_errors(operation)},
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PARAMETERS[name],
            "schema": {"type": "string", "minLength": 1},
        }
        for name in names
    ]
    if operation.rpc == "ModelInfer":
        parameters.append(
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "required": False,
                "description": "How many bytes of the body are JSON, where binary tensors stand behind it",
                "schema": {"type": "integer", "minimum": 1},
            }
        )
    if parameters:
        written["parameters"] = parameters
    if operation.body:
        written["requestBody"] = _write_body(operation)
    return written


def _write_body(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _reference(operation.body)}}
    if operation.rpc == "ModelInfer":
        content["application/octet-stream"] = {
            "schema": {
                "type": "string",
                "contentMediaType": "application/octet-stream",
                "description": "JSON, and binary tensors behind it",
            }
        }
    return {"required": operation.rpc == "ModelInfer", "content": content}


def _write_answer(operation: Operation) -> dict[str, Any]:
    answer = _json("The answer", operation.answer)
    if operation.rpc == "ModelInfer":
        answer["content"]["application/octet-stream"] = {
            "schema": {"description": "JSON, and binary tensors behind it, where a request asked for them"}
        }
        answer["headers"] = {
            "Inference-Header-Content-Length": {
                "description": "How many bytes of the body are JSON, where binary tensors stand behind it",
                "schema": {"type": "integer"},
            }
        }
    return answer


def _write_errors(operation: Operation) -> dict[str, Any]:
    errors = _errors(*_ERRORS)
    errors["429"]["headers"] = {
        "Retry-After": {"description": "In so many seconds", "schema": {"type": "integer", "minimum": 1}}
    }
    if operation.rpc == "ModelReady":
        errors["503"] = _json("The model is not ready, or the server is starting or stopping", "Error")
    return errors


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: _json(_ERRORS[status], "Error") for status in statuses}


def _identify(operation: Operation, path: str) -> str:
    """Return a name that no other operation has."""
    name = operation.rpc[0].lower() + operation.rpc[1:]
    name += "Change" if operation.method == "POST" and operation.rpc.endswith(("Setting", "Settings")) else ""
    if "/versions/" in path:
        return f"{name}OfVersion"
    narrower = any(len(other) < len(path) for other in operation.paths)
    return f"{name}OfOne" if narrower else name
