"""The part of the Hugging Face Hub's protocol that reads a data set, spoken by a server of this machine."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

OID = "0" * 40


class Hub:
    """The data set `me/set` with these files; `secret/set` needs a token. `url` is the endpoint.

    Attributes:
        busy: how many of the next files are answered with 503 instead.
        cut: after how many bytes the next file's answer ends; None: not.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files, self.busy, self.cut = files, 0, None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def tree(self, folder: str) -> list[dict[str, Any]] | None:
        """What lies in a folder, the folders among it included."""
        below = [
            PurePosixPath(path).relative_to(folder) for path in self.files if PurePosixPath(path).is_relative_to(folder)
        ]
        names = dict.fromkeys(path.parts[0] for path in below if path.parts)
        return [self.entry((PurePosixPath(folder) / name).as_posix()) for name in names] if below else None

    def entry(self, path: str) -> dict[str, Any]:
        if path in self.files:
            return {"type": "file", "path": path, "size": len(self.files[path]), "oid": OID}
        return {"type": "directory", "path": path, "size": 0, "oid": OID}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        paths = [path for path in asked["paths"] if path in self.hub.files or self.hub.tree(path)]
        self.answer(200, json.dumps([self.hub.entry(path) for path in paths]).encode())

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if "secret/set" in path:
            return self.answer(401, b"{}", **{"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        if path == "/api/datasets/me/set":
            return self.answer(200, json.dumps({"id": "me/set", "sha": OID, "siblings": []}).encode())
        if tree := re.fullmatch(r"/api/datasets/me/set/tree/main/?(.*)", path):
            found = self.hub.tree(tree[1])
            if found is not None:
                return self.answer(200, json.dumps(found).encode())
            return self.answer(404, b"{}", **{"X-Error-Code": "EntryNotFound"})
        if (file := path.removeprefix("/datasets/me/set/resolve/main/")) in self.hub.files:
            return self.send(self.hub.files[file])
        return self.answer(404, b"{}", **{"X-Error-Code": "RepoNotFound"})

    def send(self, content: bytes) -> None:
        if self.hub.busy:
            self.hub.busy -= 1
            return self.answer(503, b"")
        begin, end = re.findall(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))[0]
        part = content[int(begin) : int(end) + 1 if end else None]
        return self.answer(206, part, **{"Content-Range": f"bytes {begin}-{int(begin) + len(part) - 1}/{len(content)}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "ETag": f'"{OID}"', **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            cut, self.hub.cut = (self.hub.cut, None) if status == 206 else (None, self.hub.cut)
            self.wfile.write(body if cut is None else body[:cut])
            self.close_connection |= cut is not None
