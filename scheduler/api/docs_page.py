"""The description of the interface as a page: plain HTML, no scripts, nothing from elsewhere."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "summary{cursor:pointer;padding:.3rem 0}code,pre{font:14px/1.4 ui-monospace,monospace}"
    "pre{background:#f4f4f4;padding:.6rem;overflow:auto}.m{display:inline-block;width:4.5rem;font-weight:600}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre{background:#242424}a{color:#8cf}}"
)


def page(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the page and the Content-Security-Policy under which it shows."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"
    body = "".join(_operations(document))
    title = escape(document["info"]["title"])
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    about = f"<h1>{title}</h1><p>{escape(document['info']['description'])}</p>"
    programs = f'<p>For programs: <a href="openapi.json">openapi.json</a>, OpenAPI {escape(document["openapi"])}.</p>'
    return head + about + programs + body, policy


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    tag = None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found = operation.get("tags", [""])[0]
            if found != tag:
                tag = found
                yield f"<h2>{escape(tag)}</h2>"
            yield "".join(_operation(path, method, operation))


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<details id="{escape(operation["operationId"])}"><summary><span class="m">{method.upper()}</span>'
    yield f"<code>{escape(path)}</code></summary><p>{escape(operation.get('description', ''))}</p>"
    needed = operation.get("x-action")
    yield f"<p>The caller must be allowed to <b>{escape(needed)}</b>.</p>" if needed else ""
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code><td>{one['in']}<td>{escape(one.get('description', ''))}"
        for one in operation.get("parameters", ())
    ]
    yield f"<table><tr><th>parameter<th>in<th>means{''.join(rows)}</table>" if rows else ""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        shown = content.get("schema", {})
        yield f"<p>Body, <code>{escape(kind)}</code>:<pre>{escape(json.dumps(shown, indent=2))}</pre>"
    yield "</details>"
