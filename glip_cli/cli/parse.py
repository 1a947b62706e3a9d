"""Read the flags that commands share: the prompt, the options, and the prompt's explanation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.cli.command import Values
from glip_cli.cli.console import Console, DownloadBar, stderr
from glip_cli.cli.flags import FrameFlags, ModelFlags, ModelSourceFlags, PromptFlags
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions
from glip_cli.prompts.labels import parse_negatives
from glip_cli.utils.text_format import counted

if TYPE_CHECKING:
    from glip_cli.data.frame_inputs import FrameChoice
    from glip_cli.outputs.video import VideoTracker
    from glip_cli.prompts.chunking import Explanation
    from glip_cli.prompts.noun_phrases import Tagger
    from glip_cli.types import Prompt


def check_inputs(inputs: Sequence[str] | None) -> list[str]:
    """Raises UsageError where there are none."""
    if not inputs:
        raise UsageError("no INPUT: give an image, a folder, a glob, a URL, @list.txt or -")
    if "" in inputs:
        raise UsageError("an INPUT is empty, as of a shell's variable that is not set; . is the current folder")
    return list(inputs)


def read_frame_choice(given: FrameFlags) -> FrameChoice:
    """Raises UsageError."""
    from glip_cli.data.frame_inputs import FrameChoice

    if given.frames not in (None, "all"):
        raise UsageError(f"--frames {given.frames}: the one value is all; without it the first of an image is read")
    return FrameChoice(given.frames is not None or given.every is not None, given.every or 1)


NO_VIDEO = "--track: no video was read, so nothing has a number (videos in folders are read with --frames all)"


def read_tracker(given: FrameFlags, options: DetectOptions) -> VideoTracker | None:
    """The tracker of --track. Raises UsageError where its package is missing."""
    if not given.track:
        return None
    from glip_cli.outputs.video import VideoTracker

    return VideoTracker(options.threshold, options.class_thresholds)


def tuned_prompt_of(source: ModelSourceFlags) -> Prompt | None:
    """The prompt of the labels that the model was tuned for; None for any other. Raises WeightsError or UsageError."""
    from glip_cli.checkpoints.parts import tuned_prompt

    return tuned_prompt(source.model, weights=source.weights, adapter=source.adapter)


def read_prompt(words: PromptFlags, console: Console, offline: bool, own: Prompt | None = None) -> Prompt:
    """The prompt that the flags describe, else that of the model's `own` labels; which it is goes to stderr.

    Raises UsageError; FetchError where a --caption needs the tagger and it cannot be had.
    """
    from glip_cli.prompts.request import read_request

    read = read_request(words, tagger_on_demand(console, offline), own)
    if read.warning:
        console.warn(read.warning)
    console.info(read.summary)
    return read.prompt


def tagger_on_demand(console: Console, offline: bool) -> Callable[[], Tagger]:
    """Loads the tagger when it is first called. The function raises FetchError."""

    @cache
    def get_tagger() -> Tagger:
        from glip_cli.checkpoints.tagger import load_tagger  # imports nltk

        return load_tagger(offline=offline, report=DownloadBar(console))

    return get_tagger


def read_options(
    values: Values, labels: Sequence[str], thresholds: Path | None = None, batch_size: int = 1
) -> DetectOptions:
    """The options of the flags; `thresholds` is a file, over which --class-threshold takes precedence.

    Raises UsageError.
    """
    values = {"batch_size": batch_size, **values, **read_definitions(values)}
    if negatives := values.get("negatives"):
        values["negatives"] = parse_negatives(negatives)
    if thresholds:
        values["class_thresholds"] = _thresholds_of(thresholds, labels) | values.get("class_thresholds", {})
    return DetectOptions(**values)


def read_definitions(values: Values) -> Values:
    """The definitions in the file of --knowledge, if it is given. Raises UsageError."""
    if "knowledge" not in values:
        return {}
    from glip_cli.prompts.definitions import read_knowledge  # imports tokenizers

    return {"knowledge": read_knowledge(values["knowledge"])}


def read_batch_size(asked: int | None, device: str) -> int:
    """One at a time on a CPU, which several keep no busier. Raises DeviceError."""
    from glip_cli.inference.device import pick_device

    if asked is not None:
        return asked
    return 1 if pick_device(device).type == "cpu" else 8


def note_dtype(model_flags: ModelFlags, console: Console) -> None:
    """Warn if the requested dtype is slow here. Raises DeviceError."""
    if model_flags.dtype == "bfloat16":
        from glip_cli.inference.device import dtype_notes, pick_device

        console.warn(*dtype_notes("--dtype bfloat16", pick_device(model_flags.device)))


def _thresholds_of(file: Path, labels: Sequence[str]) -> dict[str, float]:
    """The thresholds of the prompt's labels. Raises UsageError where there are none."""
    from glip_cli.evaluation.calibrate import read_thresholds

    chosen = {label: value for label, value in read_thresholds(file).items() if label in labels}
    if not chosen:
        raise UsageError(f"--thresholds {file}: none of its labels is asked for")
    return chosen


def threshold_notes(file: Path | None, model: str) -> list[str]:
    """Notes on --thresholds FILE, once the model is known."""
    if file is None:
        return []
    from glip_cli.evaluation.calibrate import of_another_model

    return list(filter(None, [of_another_model(file, model)]))


def print_explanation(explanation: Explanation) -> None:
    """Label -> text -> tokens, as a table on stderr: stdout is for results."""
    from rich.table import Table

    console = stderr()
    in_words = any(row.words != row.label for row in explanation.rows)
    headings = ("label", *(["words"] if in_words else []), "text", "span", "token: place and piece")
    table = Table(*headings, title=None, header_style="bold")
    for row in explanation.rows:
        spans = " ".join(f"{begin}-{end}" for begin, end in row.spans)
        tokens = " ".join(f"{position}:{piece}" for position, piece in row.tokens)
        table.add_row(row.label, *([row.words] if in_words else []), str(row.chunk), spans, tokens)
    console.print(table)
    for number, (labels, tokens_used) in enumerate(explanation.texts):
        console.print(f"text {number}: {counted(labels, 'label')}, {counted(tokens_used, 'token')}", markup=False)
