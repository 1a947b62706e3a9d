"""`run.json`: what the answers of a run depend on, so that another run does not go on in its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glip_cli.data.prompted import Survey
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions
from glip_cli.outputs.files import json_bytes
from glip_cli.types import Prompt


def settings_of(model: str, prompt: Prompt | Survey, options: DetectOptions) -> dict[str, Any]:
    """What the answers depend on. The batch size is not among it: memory may force another one when a run resumes.

    `prompt`: of all images, or what a file of images and their prompts holds.
    """
    asked: dict[str, Any] = {"model": model}
    if isinstance(prompt, Survey):
        asked |= {"images": prompt.images, "prompts": prompt.digest}
    else:
        asked |= {"prompt": prompt.text, "labels": prompt.labels, "spans": prompt.spans}
    chosen = asdict(options)
    del chosen["batch_size"]
    return asked | chosen


def read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_bytes())
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise UsageError(f"{path} is damaged; --overwrite starts over")
    return settings


def digest_of(settings: Mapping[str, Any]) -> str:
    """Of what run.json holds."""
    return hashlib.blake2b(json_bytes(settings), digest_size=8).hexdigest()


def compare(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Raises UsageError where they differ."""
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            is_digest = key in ("images", "prompts")
            how = (
                "another file of --prompts, or one that has changed"
                if is_digest and key in before and key in now
                else f"{key.replace('_', '-')} {_shown(before.get(key))}, not {_shown(now.get(key))}"
            )
            raise UsageError(f"{path} holds a run with {how}; choose another --out-dir, or --overwrite to start over")


def _shown(value: object, most: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 3]}..."
