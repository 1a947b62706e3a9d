"""A request that gets no answer."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from glip_cli.outputs.files import json_bytes


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
