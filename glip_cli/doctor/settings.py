"""Variables of the environment that change what happens, and those that were meant to."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from difflib import get_close_matches

from glip_cli.doctor.finding import Finding, Section

PREFIX = "GLIP_"
OWN = ("GLIP_CACHE",)  # and GLIP_FLAG for every flag
FOREIGN = ("HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
           "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")  # fmt: skip


def look(flags: Collection[str], environment: Mapping[str, str] | None = None) -> Section:
    """Every variable that is set and looked at; a GLIP_... that no flag has is a misspelling.

    Args:
        flags: of all commands, "--top-k".
        environment: by default the process's own.
    """
    environment = os.environ if environment is None else environment
    known = {*OWN, *(PREFIX + flag.lstrip("-").replace("-", "_").upper() for flag in flags)}
    findings = [_encoding()]
    for name, value in sorted(environment.items()):
        if name in FOREIGN or name in known:
            findings.append(Finding(name, _without_password(value)))
        elif name.startswith(PREFIX):
            near = get_close_matches(name, known, n=1) or ["GLIP_FLAG for a flag --flag"]
            findings.append(Finding(name, value, "is read by nothing", f"unset it; or did you mean {near[0]}?"))
    return Section("settings", tuple(findings))


def _without_password(value: str) -> str:
    """A proxy's address may hold one; what is shown here gets pasted into reports."""
    scheme, separator, rest = value.partition("://")
    return f"{scheme}://...@{rest.rpartition('@')[2]}" if separator and "@" in rest else value


def _encoding() -> Finding:
    encoding = sys.stdout.encoding or "unknown"
    if encoding.lower().replace("-", "") != "utf8":
        problem = "is not UTF-8: letters beyond it are written as escapes"
        return Finding("text", encoding, problem, "set PYTHONUTF8=1, and unset PYTHONIOENCODING")
    return Finding("text", encoding)
