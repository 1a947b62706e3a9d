"""`run.json`: what the answers of a run depend on, so that another run does not go on in its folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from glip_cli.data.prompted import PromptsSummary
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions
from glip_cli.outputs.files import json_bytes
from glip_cli.types import Prompt
from glip_cli.utils.json import JsonObject, parsed_object
from glip_cli.utils.text_format import QUOTED, shorten

TRACK = "track"
_FLAGS = (TRACK, "frames", "every", "save-vis", "save-crop")


def settings_of(model: str, prompt: Prompt | PromptsSummary, options: DetectOptions) -> JsonObject:
    """The settings that results depend on. Not the batch size: memory may force another one when a run resumes.

    `prompt`: of all images, or what a file of images and their prompts holds.
    """
    asked: JsonObject = {"model": model}
    if isinstance(prompt, PromptsSummary):
        asked |= {"images": prompt.images, "prompts": prompt.digest}
    else:
        asked |= {"prompt": prompt.text, "labels": prompt.labels, "spans": prompt.spans}
    chosen = asdict(options)
    del chosen["batch_size"]
    return asked | chosen


def read_settings(path: Path, overwrite: bool = False) -> JsonObject:
    """Raises UsageError for a file of another program, and for one that is damaged unless it will be overwritten."""
    settings = parsed_object(path.read_bytes())
    if settings is not None and not isinstance(settings.get("processes", 1), int):
        settings = None
    if settings is None and not overwrite:
        raise UsageError(f"{path} is damaged; --overwrite starts over")
    if settings is not None and "model" not in settings:
        raise UsageError(f"{path} was not written by glip; choose another --out-dir")
    return settings or {}


def digest_of(settings: JsonObject) -> str:
    """The digest of the content of run.json."""
    return hashlib.blake2b(json_bytes(settings), digest_size=8).hexdigest()


def compare(before: JsonObject, now: JsonObject, path: Path) -> None:
    """Raises UsageError where they differ, with the first difference, and all flags that resume the run."""
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    missing = [key for key in changed if key in _FLAGS and before.get(key) and not now.get(key)]
    others = [key for key in changed if key not in missing]
    difference = [_difference(others[0], before, now)] if others else []
    if missing:
        flags = " ".join(_flag(key, before) for key in missing)
        difference.append(f"with {flags}, not given now")
        if not others:
            raise UsageError(
                f"{path} holds a run {difference[0]}: give {flags} to resume it, or choose another --out-dir"
            )
    if difference:
        raise UsageError(f"{path} holds a run {', and '.join(difference)}; choose another --out-dir, or --overwrite to "
                         "start over")  # fmt: skip


def _flag(key: str, settings: JsonObject) -> str:
    return f"--{key}" if settings[key] is True else f"--{key} {settings[key]}"


def _difference(key: str, before: JsonObject, now: JsonObject) -> str:
    if ("prompts" in before) != ("prompts" in now):
        return f"{'with' if 'prompts' in before else 'without'} --prompts"
    if key in _FLAGS and not (before.get(key) and now.get(key)):
        return f"without {_flag(key, now)}"
    if key in ("images", "prompts"):
        return "with another file of --prompts, or one that has changed"
    then, given = (shorten(json.dumps(of.get(key), ensure_ascii=False), QUOTED) for of in (before, now))
    return f"with {key.replace('_', '-')} {then}, not {given}"
