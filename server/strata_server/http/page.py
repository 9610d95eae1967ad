"""The OpenAPI document as a page to read: plain HTML, rendered here, without a script."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

_METHODS = ("get", "post")
_REFERENCE = "#/components/schemas/"


@dataclass(frozen=True)
class Page:
    """A page, and what a browser may do with it."""

    html: str
    policy: str
    """The header Content-Security-Policy: nothing but its own style sheet."""


def make_page(document: Mapping[str, Any]) -> Page:
    """Return the page of a document."""
    style = (files(__package__) / "page.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    html = (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: HTTP</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(info['title'])}<small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info['description'])}</p>"
        '<p>The same for programs: <a href="/openapi.json">openapi.json</a>, OpenAPI 3.1.</p></header>'
        f"<nav>{_list_tags(document)}</nav>"
        f"<main>{''.join(_write_tag(document, tag) for tag in document['tags'])}"
        f"{_write_schemas(document['components']['schemas'])}</main>"
        "</body></html>\n"
    )
    return Page(html, policy)


def _operations(document: Mapping[str, Any], tag: str) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """Yield method, path and operation of one part of the protocol."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item and tag in item[method]["tags"]:
                yield method, path, item[method]


def _list_tags(document: Mapping[str, Any]) -> str:
    items = [f'<li><a href="#{_anchor(tag["name"])}">{escape(tag["name"])}</a></li>' for tag in document["tags"]]
    return f'<ul>{"".join(items)}<li><a href="#schemas">schemas</a></li></ul>'


def _write_tag(document: Mapping[str, Any], tag: Mapping[str, str]) -> str:
    operations = "".join(_write_operation(*each) for each in _operations(document, tag["name"]))
    heading = f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>"
    return f'<section id="{_anchor(tag["name"])}">{heading}{operations}</section>'


def _write_operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [_write_parameters(operation.get("parameters", []))]
    if "requestBody" in operation:
        parts.append(f"<h3>body</h3>{_write_content(operation['requestBody']['content'])}")
    parts.append(f"<h3>answers</h3>{_write_responses(operation['responses'])}")
    return (
        f'<details id="{_anchor(operation["operationId"])}"><summary><b class="{method}">{method.upper()}</b>'
        f"<code>{_write_path(path)}</code><span>{escape(operation['summary'])}</span></summary>"
        f"<div>{''.join(parts)}</div></details>"
    )


def _write_path(path: str) -> str:
    """Return a path with its variables marked, which may break before each slash."""
    return escape(path).replace("/", "<wbr>/").replace("{", "<var>{").replace("}", "}</var>")


def _write_parameters(parameters: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
        f"<td>{escape(each['description'])}</td></tr>"
        for each in parameters
    ]
    return f"<h3>parameters</h3><table>{''.join(rows)}</table>" if rows else ""


def _write_content(content: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(kind)}</code></td><td>{_write_schema(value['schema'])}</td>"
        f"<td>{escape(value['schema'].get('description', ''))}</td></tr>"
        for kind, value in content.items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _write_responses(responses: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for status, response in responses.items():
        schemas = [_write_schema(value["schema"]) for value in response["content"].values()]
        kind = "good" if status == "200" else "bad"
        rows.append(
            f'<tr><td><b class="{kind}">{escape(status)}</b></td>'
            f"<td>{escape(response['description'])}</td><td>{' or '.join(schemas)}</td></tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def _write_schemas(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    written = []
    for name, schema in sorted(schemas.items()):
        description = f"<p>{escape(schema['description'])}</p>" if "description" in schema else ""
        members = _write_members(schema) or f"<p>{_write_schema(schema)}</p>"
        written.append(
            f'<article id="{_anchor(name)}"><h3><code>{escape(name)}</code></h3>{description}{members}</article>'
        )
    return f'<section id="schemas"><h2>schemas</h2>{"".join(written)}</section>'


def _write_members(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = []
    for name, value in schema.get("properties", {}).items():
        mark = "" if name in required else "<i>optional</i>"
        rows.append(
            f"<tr><td><code>{escape(name)}</code> {mark}</td><td>{_write_schema(value)}</td>"
            f"<td>{escape(value.get('description', ''))}</td></tr>"
        )
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _write_schema(schema: Mapping[str, Any]) -> str:
    """Return what a value is, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return f'<a href="#{_anchor(name)}">{escape(name)}</a>'
    if "enum" in schema:
        return "one of " + ", ".join(f"<code>{escape(value)}</code>" for value in schema["enum"])
    kinds = schema.get("type", "bytes")
    words = " or ".join(map(escape, [kinds] if isinstance(kinds, str) else kinds))
    if "items" in schema:
        return f"{words} of {_write_schema(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{words} of {_write_schema(schema['additionalProperties'])}"
    if "contentEncoding" in schema:
        words += f", {escape(schema['contentEncoding'])}"
    return words


def _anchor(name: str) -> str:
    return escape(name.replace(" ", "-"))
