"""What the tests of `glip_cli.checkpoints` share: manifests, small models in foreign names, real HTTP servers."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from torch import Tensor

from glip_cli.checkpoints.formats import table
from glip_cli.checkpoints.key_map import as_linear, from_unfold
from glip_cli.model.config import ARCHITECTURES
from glip_cli.model.glip import Glip

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests"
SMALL = ARCHITECTURES["glip-mini"]


def manifest(name: str) -> list[list]:
    with gzip.open(GOLDEN / f"{name}.json.gz") as file:
        return json.load(file)


def small_state(seed: int = 0) -> dict[str, Tensor]:
    """A native state dict in which every tensor is different."""
    torch.manual_seed(seed)
    return {key: torch.randn_like(tensor) for key, tensor in Glip(SMALL).state_dict().items()}


def foreign(state: dict[str, Tensor], dialect: str) -> dict[str, Tensor]:
    """The native state dict as the other project would have saved it."""
    sources = table(SMALL, dialect).sources
    inverse: dict[Callable, Callable] = {as_linear: _to_conv, from_unfold: _to_unfold}
    return {s.key: inverse.get(s.transform, torch.clone)(state[ours]) for ours, s in sources.items()}


def _to_conv(tensor: Tensor) -> Tensor:
    return tensor[:, :, None, None].clone() if tensor.ndim == 2 else tensor.clone()


def _to_unfold(tensor: Tensor) -> Tensor:
    """mmdet[..., 4c + p] = timm[..., [0, 2, 1, 3][p] * C + c]."""
    channels = tensor.shape[-1] // 4
    out = torch.empty_like(tensor)
    for c in range(channels):
        for p in range(4):
            out[..., 4 * c + p] = tensor[..., [0, 2, 1, 3][p] * channels + c]
    return out


class Server(ThreadingHTTPServer):
    """Serves `files` and counts what was asked; flags make it misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []  # path, Range header
        self.ranges = True
        self.validators: dict[str, str] = {}  # headers that name the version; If-Range is then heeded
        self.heeds = True
        self.cuts: list[int] = []  # bytes after which the next answers break off
        self.gate: threading.Event | None = None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a cut connection is part of the tests


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path[1:])
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path[1:], wanted))
        if self.server.gate:
            self.server.gate.wait(10)
        if content is None:
            return self.send_error(404)
        version = self.headers.get("If-Range")
        other = self.server.heeds and version is not None and version not in self.server.validators.values()
        partly = wanted and self.server.ranges and not other
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and partly else 0
        if begin >= len(content) > 0 and begin:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if begin else 200)
        for name, value in self.server.validators.items():
            self.send_header(name, value)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        body = content[begin:]
        self.wfile.write(body[: self.server.cuts.pop(0)] if self.server.cuts else body)

    def do_HEAD(self) -> None:
        """As the hub answers its client: a commit and a content hash."""
        content = self.server.files.get(self.path[1:])
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        if content is not None:
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
