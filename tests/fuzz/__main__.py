"""Fuzz one kind of input, coverage-guided, or run files through its harness again.

python -m tests.fuzz KIND [-max_total_time=60] [CORPUS]   needs atheris; flags are libFuzzer's (-help=1)
python -m tests.fuzz KIND FILE...                         needs nothing
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

FOLLOWED = ["glip_cli", "PIL"]
"""Modules whose branches guide the search: ours, and what reads images in Python."""
FOUND = 77  # the exit code, as libFuzzer's


def main(words: Sequence[str]) -> None:
    if words[1:] and all(Path(word).is_file() for word in words[1:]):
        return again(words[0], words[1:])
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="glip-fuzz-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        child = os.fork()  # libFuzzer ends its process without a chance to clear up
        if not child:
            tempfile.tempdir = name
            search(words[:1], words[1:], Path(name))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(status)


def search(kinds: Sequence[str], flags: Sequence[str], folder: Path) -> NoReturn:
    """Until libFuzzer has enough, or something gets through."""
    import atheris

    begin, dictionary = folder / "seeds", folder / "words"
    begin.mkdir()
    with atheris.instrument_imports(include=FOLLOWED):
        from tests.fuzz import harnesses, seeds

        if not kinds or kinds[0] not in harnesses.HARNESSES:
            sys.exit(f"{__doc__}\nKIND is one of {', '.join(harnesses.HARNESSES)}.")
        (kind,) = kinds
        for number, seed in enumerate(seeds.SEEDS[kind]):
            (begin / str(number)).write_bytes(seed)
            harnesses.HARNESSES[kind](seed)  # which also imports what functions import
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in seeds.WORDS[kind].split(" ")))
    own = [f"-dict={dictionary}", "-timeout=60", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *own, *flags, str(begin)], _stopping(kind, harnesses.HARNESSES[kind]))
    atheris.Fuzz()
    sys.exit()


def _stopping(kind: str, harness: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Keeps what gets through, and ends: on libFuzzer's own way out Python may wait for its threads for ever."""

    def run(data: bytes) -> None:
        try:
            harness(data)
        except BaseException:
            traceback.print_exc()
            kept = Path(f"crash-{kind}-{hashlib.sha256(data).hexdigest()[:8]}")
            kept.write_bytes(data)
            print(f"to run it again: python -m tests.fuzz {kind} {kept}", file=sys.stderr, flush=True)
            os._exit(FOUND)

    return run


def again(kind: str, files: Sequence[str]) -> None:
    """Ends with the traceback of the first that gets through."""
    from tests.fuzz.harnesses import HARNESSES

    for file in files:
        HARNESSES[kind](Path(file).read_bytes())
    print(f"{len(files)} answered")


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main(sys.argv[1:])
