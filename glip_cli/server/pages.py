"""The two pages: `/`, which detects, and `/docs`, which describes the API. Neither asks another site for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from starlette.responses import HTMLResponse


def page() -> HTMLResponse:
    return html(_file("page.html"))


def api_page(openapi: Mapping[str, object]) -> HTMLResponse:
    """The description that FastAPI makes, as a page: its own takes scripts from another site."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["type"] = type_of
    return html(environment.from_string(_file("docs.html")).render(openapi))


def html(text: str) -> HTMLResponse:
    """With a policy under which it may use its own script and style, and ask this server, and no more."""
    policy = (
        f"default-src 'none'; script-src {_sources('script', text)}; style-src {_sources('style', text)}; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def type_of(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: "text or list of text"."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(one) for one in schema["anyOf"] if one.get("type") != "null"))
    if "$ref" in schema:
        return "object"
    kind = schema.get("type", "any")
    if kind == "array":
        inner = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        return f"list of {type_of(inner)}"
    return {"string": "file" if schema.get("format") == "binary" else "text", "boolean": "true or false"}.get(
        kind, kind
    )


def _file(name: str) -> str:
    return files("glip_cli.server").joinpath(name).read_text(encoding="utf-8")


def _sources(kind: str, text: str) -> str:
    """The hashes of the page's own scripts or styles, as the policy has them."""
    hashes = [hashlib.sha256(part.encode()).digest() for part in re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.S)]
    return " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes) or "'none'"
