"""A real S3 server of this machine (moto's), behind a proxy that cuts connections and says 503."""

from __future__ import annotations

import io
import logging
import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np

from glip_cli.data.synthetic import draw_scene

BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BUCKET = "bucket"
_REQUEST = re.compile(rb"[A-Z]+ \S+ HTTP/1.1")


class Hold:
    """A request that waits: the first one whose first line holds `text`, after `passing` others that do."""

    def __init__(self, text: str, passing: int = 0) -> None:
        self._text, self._passing = text, passing
        self._lock, self._ended = threading.Lock(), threading.Event()
        self.reached, self._passes = False, False
        self.request = ""

    def lets_pass(self, request: str) -> bool:
        """Waits for `release` where it is this one. False for one that must not go on."""
        with self._lock:
            if self.reached or self._text not in request:
                return True
            self._passing -= 1
            if self._passing >= 0:
                return True
            self.reached, self.request = True, request
        self._ended.wait()
        return self._passes

    def release(self, passes: bool) -> None:
        self._passes = passes
        self._ended.set()


class Proxy:
    """Passes bytes on.

    Attributes:
        cuts: after how many bytes of the next answers the connection is cut; one number for each.
        busy: how many of the next requests are answered with `busy_answer` instead, which says 503.
        put_cuts: after how many bytes of their content the next PUTs are cut; one number for each.
        silent: requests get no answer.
        hold: which request waits before it is passed on.
        objects: if set, how many a listing has, in pages that this proxy makes up: moto would sort them all for each.
        requests: the first lines of all.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target, self._listener = target, socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts: list[int] = []
        self.put_cuts: list[int] = []
        self.hold: Hold | None = None
        self.busy = self.objects = 0
        self.silent, self.busy_answer = False, BUSY
        self.requests: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for pass_on in (self._up, self._down):
                    threading.Thread(target=pass_on, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        left: int | None = None
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if begun := _REQUEST.match(data):
                    self.requests.append(begun[0].decode("latin-1"))
                    if self.hold and not self.hold.lets_pass(self.requests[-1]):
                        break
                if begun and data.startswith(b"PUT") and self.put_cuts:
                    left = data.index(b"\r\n\r\n") + 4 + self.put_cuts.pop(0)
                if left is not None:
                    server.sendall(data[:left])
                    left -= len(data)
                    if left <= 0:
                        break
                    continue
                if self.busy:
                    self.busy -= 1
                    client.sendall(self.busy_answer)
                    break
                if self.silent:
                    continue
                if self.objects:
                    client.sendall(self._page(self.requests.pop()))
                    continue
                server.sendall(data)
        _close(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if self.cuts:
                    client.sendall(data[: self.cuts.pop(0)])
                    break
                client.sendall(data)
        _close(client, server)

    def _page(self, request: str) -> bytes:
        first = int((re.findall(r"continuation-token=(\d+)", request) or ["0"])[0])
        last = min(first + 1000, self.objects)
        keys = "".join(f"<Contents><Key>many/folder/{number:09}.jpg</Key></Contents>" for number in range(first, last))
        more = f"<IsTruncated>{str(last < self.objects).lower()}</IsTruncated>"
        following = f"<NextContinuationToken>{last}</NextContinuationToken>"
        body = f"<ListBucketResult>{more}{following}{keys}</ListBucketResult>".encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def close(self) -> None:
        self._listener.close()


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


class Server:
    """S3 with one bucket. `url` is what AWS_ENDPOINT_URL names."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.proxy = Proxy(self._server.get_host_and_port())
        self.url = f"http://127.0.0.1:{self.proxy.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAGLIP",
            "AWS_SECRET_ACCESS_KEY": "s3cret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "no_proxy": "*",
        }

    @cached_property
    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1"
        )

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Make the bucket hold these alone."""
        client = self.client
        with suppress(client.exceptions.NoSuchBucket):
            while found := client.list_objects_v2(Bucket=BUCKET).get("Contents"):
                keys = [{"Key": entry["Key"]} for entry in found]
                client.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})
            client.delete_bucket(Bucket=BUCKET)
        client.create_bucket(Bucket=BUCKET)
        for key, content in objects.items():
            client.put_object(Bucket=BUCKET, Key=key, Body=content)
        self.proxy.requests.clear()

    def stored(self, folder: str = "run/") -> dict[str, bytes]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=folder).get("Contents", ())
        bodies = {entry["Key"]: self.client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"] for entry in found}
        return {key.removeprefix(folder): body.read() for key, body in bodies.items()}

    def close(self) -> None:
        self.proxy.close()
        self._server.stop()


def scene(seed: int, suffix: str = "png") -> bytes:
    """The file of a drawn scene."""
    stream = io.BytesIO()
    draw_scene(np.random.default_rng(seed)).image.save(stream, suffix)
    return stream.getvalue()
