"""The OpenAPI document is complete and true: what it allows is answered as it says, and what it does not is refused."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from processes import ServerProcess
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from strata_server.http.openapi import make_document
from strata_server.http.operations import OPERATIONS
from strata_server.http.page import make_page
from strata_server.http.statuses import HTTP_STATUSES

DOCUMENT = make_document()
OPERATIONS_BY_NAME = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Documented, and no defect: what is not served, a model that is not ready, a deadline of no time.
REFUSALS = {501, 503, 504}
EXAMPLES, EXAMPLES_OF_INFERENCES = 8, 60
# A name is a string, whatever it is: only a body can be against its schema.
ASKED = [
    (path, method, mode)
    for path, method in OPERATIONS_BY_NAME
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or "requestBody" in DOCUMENT["paths"][path][method]
]


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize(("path", "method", "mode"), ASKED)
def test_whatever_is_asked_is_answered_as_the_document_says(
    tiny: ServerProcess, session: requests.Session, path: str, method: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method]
    served = {"name": "tiny", "version": "1"}
    named = {name: value for name, value in served.items() if f"{{{name}}}" in path}

    @settings(
        max_examples=EXAMPLES_OF_INFERENCES if path.endswith("/infer") else EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode) | operation.as_strategy(mode, path_parameters=named or None))
    def ask(case: Any) -> None:
        response = case.call(base_url=tiny.http, session=session)
        assert response.status_code < 500 or response.status_code in REFUSALS, response.text
        case.validate_response(response, checks=CHECKS)

    ask()
    assert httpx.get(f"{tiny.http}/v2/models/tiny/ready").status_code == 200
    assert "Traceback" not in tiny.log


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_a_method_that_the_document_has_not_is_refused(tiny: ServerProcess, path: str) -> None:
    known = {method.upper() for method in DOCUMENT["paths"][path]}
    named = path.format(name="tiny", version="1")
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - known:
        answer = httpx.request(method, f"{tiny.http}{named}")
        assert answer.status_code == 405
        assert known <= set(answer.headers["allow"].split(", "))
        assert "expected the method" in answer.json()["error"]


def test_the_server_gives_the_document_and_the_page_lists_all_of_it(tiny: ServerProcess) -> None:
    assert httpx.get(f"{tiny.http}/openapi.json").json() == DOCUMENT
    page = httpx.get(f"{tiny.http}/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    text = re.sub(r"<[^>]+>", "", page.text)
    for path, _ in OPERATIONS_BY_NAME:
        assert path in text
    for name in DOCUMENT["components"]["schemas"]:
        assert name in text


def test_every_rpc_without_a_stream_has_a_path() -> None:
    from strata_server.rpc.open_inference import open_inference_pb2 as pb  # noqa: PLC0415 - for this test only

    rpcs = set(pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name)
    asked = {operation.rpc for operation in OPERATIONS}
    assert rpcs - asked == {"ServerLive", "ServerReady", "ModelStreamInfer"}


def test_every_status_of_an_error_is_documented() -> None:
    for path, method in OPERATIONS_BY_NAME:
        responses = DOCUMENT["paths"][path][method]["responses"]
        if path.startswith("/v2/models"):
            assert {str(status) for status in HTTP_STATUSES.values()} - {"401"} <= set(responses)


class Page(HTMLParser):
    """Notes what a page is made of, and that its tags close in order."""

    VOID = frozenset({"meta", "wbr", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.anchors: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                assert value not in self.anchors
                self.anchors.add(str(value))
            if name == "href":
                self.links.add(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read_page(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert not page.open
    return page


def test_the_page_has_no_script_and_nothing_of_elsewhere(tiny: ServerProcess) -> None:
    answer = httpx.get(f"{tiny.http}/docs")
    page = read_page(answer.text)
    assert not {"script", "img", "iframe", "link", "form", "object"} & set(page.tags)
    assert {link for link in page.links if not link.startswith("#")} == {"/openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.anchors
    assert "url(" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_hostile_text_is_escaped_on_the_page() -> None:
    hostile = "<script>alert(1)</script>\"'&"
    schema = {
        "type": "object",
        "description": hostile,
        "required": [],
        "properties": {hostile: {"type": "string", "description": hostile}, "kind": {"enum": [hostile]}},
    }
    content = {hostile: {"schema": {"$ref": f"#/components/schemas/{hostile}"}}}
    operation = {
        "operationId": hostile,
        "tags": [hostile],
        "summary": hostile,
        "parameters": [{"name": hostile, "in": hostile, "description": hostile}],
        "requestBody": {"content": content},
        "responses": {hostile: {"description": hostile, "content": content}},
    }
    document = {
        "info": {"title": hostile, "version": hostile, "description": hostile},
        "tags": [{"name": hostile, "description": hostile}],
        "paths": {f"/{hostile}": {"get": operation}},
        "components": {"schemas": {hostile: schema}},
    }
    page = make_page(document).html
    assert "<script" not in page
    assert "alert" in page
    parser = Page.__mro__[1]()
    parser.feed(page)
