"""The two pages: `/`, which detects, and `/docs`, which describes the API. Neither asks another site for anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from starlette.responses import HTMLResponse

from glip_cli.outputs.files import policy_hash
from glip_cli.server.request import JSON, MULTIPART, DetectRequest, ExplainRequest
from glip_cli.utils.json import JsonObject


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


def type_of(schema: JsonObject) -> str:
    """A JSON schema in a few words: "text or list of text"."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(one) for one in schema["anyOf"] if one.get("type") != "null"))
    if "$ref" in schema:
        return "object"
    kind: str = schema.get("type", "any")
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
    parts = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.S)
    return " ".join(f"'sha256-{policy_hash(part)}'" for part in parts) or "'none'"


# --------------------------------------------------------------------------------- what FastAPI cannot know of a route


_IMAGE_SCHEMA = DetectRequest.model_json_schema()
_FORM_SCHEMA = {
    "type": "object",
    "properties": {
        "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
        **ExplainRequest.model_json_schema()["properties"],
    },
}
DETECT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"anyOf": [_IMAGE_SCHEMA, {"type": "array", "items": _IMAGE_SCHEMA}]}},
            MULTIPART: {"schema": _FORM_SCHEMA},
        },
    }
}
EXPLAIN_BODY = {"requestBody": {"content": {JSON: {"schema": ExplainRequest.model_json_schema()}}}}
ERRORS: dict[int | str, dict[str, object]] = {
    400: {"description": "A prompt or an option that cannot be meant."},
    401: {"description": "The token is missing or wrong."},
    413: {"description": "More than the server takes; the answer says how much that is."},
    422: {"description": "The image cannot be read; the answer is its glip/1 record with an error."},
    503: {"description": "Too many images at once; Retry-After says when to try again."},
    504: {"description": "Not done in time."},
}
