"""What tests of hostile machines share."""

from __future__ import annotations

PROMPT = "circle . red square . star ."
MINI = ("-t", PROMPT, "-m", "glip-mini", "--device", "cpu", "--threshold", "0.05")


def one_error(stderr: str) -> str:
    """The single line of error; fails where there is none, several, or a traceback."""
    assert "Traceback" not in stderr, stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("glip: error: ")]
    return line
