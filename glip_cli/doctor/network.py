"""Whether the places that weights come from can be reached, each asked for the head of one of its files."""

from __future__ import annotations

import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from urllib.parse import urlsplit

from glip_cli.checkpoints import hub, registry
from glip_cli.checkpoints.fetch import hub_is_offline
from glip_cli.doctor.checks import Check, CheckGroup
from glip_cli.utils.http import USER_AGENT, why_unreachable

PATIENCE = 5.0  # seconds for one host, name look-up included
REACHABLE = "reachable"
REMEDY = f"check the connection and HTTPS_PROXY; without a network use --weights FILE, or -m {registry.EMBEDDED}"


def one_file_per_host() -> dict[str, str]:
    """Host -> the URL of one file there, of every host of weights.toml; $HF_ENDPOINT stands for huggingface.co."""
    urls = [url for one in registry.all() for url in one.urls]
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    found: dict[str, str] = {}
    for url in urls:
        asked = endpoint + urlsplit(url).path if endpoint and hub.serves(url) else url
        found.setdefault(urlsplit(asked).netloc.rpartition("@")[2], asked)  # no password in a report
    return found


def check_network(
    offline: bool = False, files: Mapping[str, str] | None = None, patience: float = PATIENCE
) -> CheckGroup:
    """One finding per host; none is asked where that is forbidden.

    Args:
        offline: the network is not to be used; HF_HUB_OFFLINE means the same.
        files: host -> URL; by default those of weights.toml.
        patience: seconds in which a host must have answered.
    """
    if offline or hub_is_offline():
        why = "--offline" if offline else "HF_HUB_OFFLINE"
        return CheckGroup("network", (Check("hosts", f"not asked, because of {why}"),))
    chosen = one_file_per_host() if files is None else files
    answers = request_heads(list(chosen.values()), patience)
    findings = [_finding(host, answers.get(url, f"no answer for {patience:g} seconds")) for host, url in chosen.items()]
    return CheckGroup("network", tuple(findings))


def _finding(host: str, answer: str | None) -> Check:
    if answer is None:
        return Check(host, REACHABLE)
    return Check(host, "not reachable", f"cannot be asked for files: {answer}", REMEDY)


def request_heads(urls: Sequence[str], patience: float) -> dict[str, str | None]:
    """What is wrong with each URL that was heard of in time; None where nothing is.

    The threads are daemons: a name look-up that takes a minute blocks nothing.
    """
    answers: dict[str, str | None] = {}
    threads = [
        threading.Thread(target=lambda url=url: answers.update({url: request_head(url, patience)}), daemon=True)
        for url in urls
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return dict(answers)


def request_head(url: str, patience: float) -> str | None:
    """None where the server would give the file, else why not."""
    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": USER_AGENT})
        with urllib.request.urlopen(request, timeout=patience):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"answers {error.code} {error.reason}"
    except (OSError, HTTPException, ValueError) as error:
        return why_unreachable(error)
