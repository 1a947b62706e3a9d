"""The images of Label Studio's tasks: in the task itself, of Label Studio, or of the web."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Mapping
from urllib import error, request
from urllib.parse import urlsplit

from glip_cli.data.download import TrustedServer, fetch
from glip_cli.errors import ImageError
from glip_cli.server.options import ServeOptions
from glip_cli.utils.text_format import quoted, shorten, shown_url

_CLOUD = ("s3:", "gs:", "azure-blob:")
"""URIs of storages that only Label Studio can read."""
_HOW = "start glip serve with --label-studio URL and --label-studio-token TOKEN"
_ACCESS_SECONDS = 120.0  # a token of access lives 5 minutes
_STALL = 10.0  # seconds for one


def task_name(task: Mapping[str, object]) -> str:
    """ "task 5"."""
    return shorten(f"task {task.get('id')}", 40)


class TaskImages:
    """Threads may share it. Label Studio's token is sent to Label Studio alone, and along no redirect."""

    def __init__(self, options: ServeOptions):
        self.options, self.url = options, (options.label_studio or "").rstrip("/")
        self._access, self._since, self._lock = "", 0.0, threading.Lock()

    def read(self, task: Mapping[str, object], key: str) -> bytes:
        """The file of a task's image. Raises ImageError."""
        data = task.get("data")
        value = data.get(key) if isinstance(data, dict) else None
        if not isinstance(value, str) or not value:
            raise ImageError(f"{task_name(task)}: its data have no {quoted(key)}, which the Image shows")
        if value.startswith("data:"):
            try:
                return base64.b64decode(value.partition(",")[2], validate=True)
            except (binascii.Error, ValueError):
                raise ImageError(f"{task_name(task)}: its data: URL holds no base64; write it in base64") from None
        url = self._absolute(value, task.get("id"))
        return fetch(
            url, self.options.max_bytes, public=True, trusted=self._label_studio() if self._is_own(url) else None
        )

    def _absolute(self, value: str, task: object) -> str:
        """The URL that gives the image, if it may be fetched. Raises ImageError."""
        if value.startswith(_CLOUD) and isinstance(task, int):
            value = f"/tasks/{task}/presign/?fileuri={base64.urlsafe_b64encode(value.encode()).decode()}"
        if value.startswith("/"):
            if not self.url:
                raise ImageError(f"{shown_url(value)}: Label Studio has this image; {_HOW}")
            path = urlsplit(self.url).path  # of a Label Studio that is not at its host's root, values begin with it
            return self.url.removesuffix(path) + value if value.startswith(f"{path}/") else self.url + value
        if not value.lower().startswith(("http://", "https://")):
            raise ImageError(f"{quoted(value)}: no URL of an image")
        if not self.options.allow_urls and not self._is_own(value):
            raise ImageError(f"{shown_url(value)}: URLs are not fetched; start glip serve with --allow-urls; "
                             "if it is Label Studio's own, with --label-studio and its URL up to there")  # fmt: skip
        return value

    def _is_own(self, url: str) -> bool:
        return bool(self.url) and url.startswith(f"{self.url}/")

    def _label_studio(self) -> TrustedServer:
        token = self.options.label_studio_token or ""
        authorization = f"Bearer {self._access_token(token)}" if token.count(".") == 2 else f"Token {token}"
        return TrustedServer(self.url, authorization, self.options.allow_urls, "check --label-studio-token")

    def _access_token(self, personal: str) -> str:
        """The access token for a personal access token of Label Studio."""
        with self._lock:
            if not self._access or time.monotonic() - self._since > _ACCESS_SECONDS:
                self._access, self._since = self._ask_access(personal), time.monotonic()
            return self._access

    def _ask_access(self, personal: str) -> str:
        body = json.dumps({"refresh": personal}).encode()
        asked = request.Request(f"{self.url}/api/token/refresh/", body, {"Content-Type": "application/json"})
        try:
            with request.urlopen(asked, timeout=_STALL) as answer:
                return str(json.load(answer)["access"])
        except error.HTTPError as failure:
            failure.close()
            reason = f"answers {failure.code}"
        except (OSError, ValueError, KeyError, TypeError) as failure:
            reason = f"gives no token of access ({type(failure).__name__})"
        raise ImageError(f"{self.url}: Label Studio {reason}; check --label-studio and --label-studio-token")
