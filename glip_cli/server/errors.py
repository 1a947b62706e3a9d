"""A request that gets no answer, and messages in the words of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields

from starlette.requests import Request
from starlette.responses import Response

from glip_cli.options import DetectOptions, PromptRequest
from glip_cli.outputs.files import json_bytes
from glip_cli.utils.http import USER_AGENT
from glip_cli.utils.option import flags_of


class RequestError(Exception):
    """Attributes: `status` of HTTP, `headers` of the answer; the text is one line, without a path of the server."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None):
        super().__init__(text)
        self.status, self.headers = status, dict(headers or {})

    @property
    def response(self) -> Response:
        return json_response({"error": str(self)}, self.status, self.headers)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """One line of JSON, as the command line prints it."""
    return Response(json_bytes(value) + b"\n", status, headers, media_type="application/json")


_FIELDS = {flag: one.name for kind in (DetectOptions, PromptRequest) for one in fields(kind) for flag in flags_of(one)}
_FIELDS["-c"] = "custom_entities"
_FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def in_fields(text: str, request: Request) -> str:
    """A message with fields of the request instead of flags; unchanged for `glip --server`, which has flags."""
    if request.headers.get("user-agent") == USER_AGENT:
        return text
    return _FLAG.sub(lambda flag: _FIELDS.get(flag[0], flag[0]), text)
