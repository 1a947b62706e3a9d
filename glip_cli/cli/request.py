"""What `detect`, `batch` and `eval` ask for with the same flags: the prompt, the options, and their explanation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from glip_cli.cli.console import Notes, stderr
from glip_cli.errors import UsageError

if TYPE_CHECKING:
    from glip_cli.prompt import Chunk
    from glip_cli.types import Prompt

SHOWN_LABELS = 12


def read_prompt(
    texts: Sequence[str], caption: str | None, phrases: Sequence[str], tokens_positive: str | None, notes: Notes
) -> Prompt:
    """The prompt that the flags describe; which kind it is goes to stderr. Raises UsageError."""
    from glip_cli.prompt import caption_prompt, label_prompt, parse_texts, parse_tokens_positive

    if bool(texts) == (caption is not None):
        raise UsageError("say what to find with --texts 'cat . remote .', or with --caption and --phrases")
    if caption is None:
        if phrases or tokens_positive:
            raise UsageError("--phrases and --tokens-positive name parts of a --caption, not of --texts")
        labels = parse_texts(texts)
        more = f" ... ({len(labels)})" if len(labels) > SHOWN_LABELS else ""
        notes.say(f"labels: {', '.join(labels[:SHOWN_LABELS])}{more}")
        return label_prompt(labels)
    spans = parse_tokens_positive(tokens_positive) if tokens_positive else None
    prompt = caption_prompt(caption, spans=spans, phrases=phrases or None)
    notes.say(f"parts of the caption: {', '.join(prompt.labels)}")
    return prompt


def class_thresholds(items: Sequence[str] | None, file: Path | None, prompt: Prompt) -> dict[str, float]:
    """Those of --thresholds FILE for labels of the prompt, and over them those of --class-threshold."""
    from glip_cli.options import parse_class_thresholds

    chosen: dict[str, float] = {}
    if file:
        from glip_cli.evaluation.calibrate import read_thresholds

        chosen = {label: value for label, value in read_thresholds(file).items() if label in prompt.labels}
        if not chosen:
            raise UsageError(f"--thresholds {file}: none of its labels is asked for")
    return chosen | parse_class_thresholds(list(items or []))


def print_explanation(chunks: Sequence[Chunk]) -> None:
    """Label -> text -> tokens, as a table on stderr: stdout is for results."""
    from glip_cli.prompt import explain

    table = Table("label", "text", "span", "token: place and piece", title=None, header_style="bold")
    for row in explain(tuple(chunks)):
        spans = " ".join(f"{begin}-{end}" for begin, end in row.spans)
        tokens = " ".join(f"{place}:{piece}" for place, piece in row.tokens)
        table.add_row(row.label, str(row.chunk), spans, tokens)
    stderr.print(table)
    for number, chunk in enumerate(chunks):
        used = len(chunk.tokens.ids)
        stderr.print(f"text {number}: {len(chunk.label_ids)} labels, {used} tokens", markup=False)
