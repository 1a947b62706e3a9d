"""Many runs of glip for one import of torch: this program has imported it, and forks for each.

As a program, `python -m tests.hardening.forks FILE`: FILE holds JSON, a list of runs. A run is a dict of

    words    of the command line
    folder   that it runs in; what it prints goes there, into "printed"
    moment   seconds until Ctrl-C; or
    at       a glob in that folder: Ctrl-C comes when there is such a file

and on standard output stands, for each, how it ended: the exit code, or minus the signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE = 120.0
TICK = 0.01


def main(file: str) -> None:
    import typer  # noqa: F401

    import glip_cli.cli.app
    import glip_cli.detector
    import glip_cli.finetune.loop  # noqa: F401

    for run in json.loads(Path(file).read_text()):
        print(json.dumps(_ended(run)), flush=True)


def _ended(run: dict[str, Any]) -> int:
    begun, folder = time.monotonic(), Path(run["folder"])
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # or it could be lost in what Python does after a fork
    child = os.fork()
    if not child:
        _work(run["words"], folder)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    while not _is_time(run, folder, time.monotonic() - begun):
        time.sleep(TICK)
        if _has_ended(child):
            break
    os.kill(child, signal.SIGINT)
    asked = time.monotonic()
    while not _has_ended(child):
        time.sleep(TICK)
        if time.monotonic() - asked > PATIENCE:
            os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _is_time(run: dict[str, Any], folder: Path, passed: float) -> bool:
    if passed > PATIENCE:
        return True
    return any(folder.glob(run["at"])) if "at" in run else passed >= run["moment"]


def _work(words: list[str], folder: Path) -> None:
    """What the console script does, as a process of its own; never returns."""
    os.setpgid(0, 0)
    os.chdir(folder)
    printed = os.open("printed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    from glip_cli.cli.app import main as glip
    from glip_cli.interrupt import leave_on_interrupt

    sys.argv = ["glip", *words]
    leave_on_interrupt()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    code = 0
    try:
        glip()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
