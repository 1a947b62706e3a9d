"""What the flags that commands share ask for: the prompt, the options, and the prompt's explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from glip_cli.cli.console import DownloadBar, Notes, stderr
from glip_cli.cli.options import DetectPromptFlags, FilterFlags, ModelFlags, ModelSourceFlags, PromptFlags, ResizeFlags
from glip_cli.errors import FetchError, UsageError
from glip_cli.utils.text_format import listed, quoted

if TYPE_CHECKING:
    from glip_cli.detector import Detector
    from glip_cli.prompts.chunking import Chunk
    from glip_cli.types import DetectOptions, Prompt, Span


def parse_size(text: str) -> tuple[int, int]:
    """'800,1333' -> (800, 1333); one number is both sides' limit. Raises UsageError."""
    parts = text.replace("x", ",").split(",")
    if not 1 <= len(parts) <= 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--size {text}: write the shorter and the longer side, as in --size 800,1333")
    return int(parts[0]), int(parts[-1])


def parse_class_thresholds(items: list[str]) -> dict[str, float]:
    """['cat=0.5'] -> {'cat': 0.5}; the last '=' counts, so a label may hold one. Raises UsageError."""
    thresholds = {}
    for item in items:
        label, equals, value = item.rpartition("=")
        try:
            thresholds[label] = float(value)
        except ValueError:
            equals = ""
        if not equals or not label:
            raise UsageError(f"--class-threshold {item}: write LABEL=SCORE, as in --class-threshold cat=0.5")
    return thresholds


def check_inputs(inputs: Sequence[str] | None) -> list[str]:
    """Raises UsageError where there are none."""
    if not inputs:
        raise UsageError("no INPUT: give an image, a folder, a glob, a URL, @list.txt or -")
    return list(inputs)


def split_values(values: Sequence[str]) -> tuple[str, ...]:
    """The values of a flag that is repeated or has commas between them."""
    return tuple(value.strip() for text in values for value in text.split(",") if value.strip())


def own_labels(words: PromptFlags, source: ModelSourceFlags, served: Detector | None = None) -> tuple[str, ...]:
    """The labels that the model was tuned for, or that are part of its ONNX file; () where others are asked for.

    Raises WeightsError or UsageError.
    """
    if words.given:
        return ()
    if served:
        return served.labels
    from glip_cli.checkpoints.parts import tuned_labels

    return tuned_labels(source.model, weights=source.weights, adapter=source.adapter)


def read_prompt(words: PromptFlags, notes: Notes, offline: bool, own: Sequence[str] = ()) -> Prompt:
    """The prompt that the flags describe, else that of the model's `own` labels; which it is goes to stderr.

    A single --texts that reads like a sentence is a caption, unless --custom-entities says that it is a label.
    Raises UsageError; FetchError where a --caption needs the tagger and it cannot be had.
    """
    from glip_cli.prompts.labels import sentence_of
    from glip_cli.prompts.prompt import label_prompt, texts_prompt

    texts = words.texts or []
    if own and not words.given:
        notes.say(f"labels of the model: {listed(own)}")
        return label_prompt(own)
    if bool(texts) == (words.caption is not None):
        raise UsageError("say what to find with --texts 'cat . remote .', or with --caption")
    if words.caption is not None:
        return _caption(words.caption, words, notes, offline)
    if words.phrases or words.tokens_positive:
        raise UsageError("--phrases and --tokens-positive name parts of a --caption, not of --texts")
    sentence = None if words.custom_entities else sentence_of(texts)
    if sentence and (prompt := _sentence(sentence, notes, offline)):
        return prompt
    prompt = texts_prompt(texts)
    notes.say(f"labels: {listed(prompt.labels)}")
    return prompt


def _caption(caption: str, words: PromptFlags, notes: Notes, offline: bool) -> Prompt:
    """Of --caption: its parts by --phrases or --tokens-positive, by [brackets] in it, or else its noun phrases."""
    from glip_cli.prompts.prompt import caption_prompt
    from glip_cli.prompts.spans import parse_tokens_positive, read_brackets

    if not caption.strip():
        raise UsageError("the caption is blank; write a sentence")
    if words.phrases or words.tokens_positive:
        spans = parse_tokens_positive(words.tokens_positive) if words.tokens_positive else None
        prompt = caption_prompt(caption, spans=spans, phrases=words.phrases or None)
    elif "[" in caption or "]" in caption:
        text, parts = read_brackets(caption)
        prompt = caption_prompt(text, parts=parts)
    else:
        found = _noun_phrases(caption, notes, offline)
        if not found:
            raise UsageError(
                f"no noun phrase in the caption {quoted(caption)}; name parts with --phrases or as [bracketed] words"
            )
        prompt = caption_prompt(caption, parts=found)
    notes.say(f"parts of the caption: {listed(prompt.labels)}")
    return prompt


def _sentence(text: str, notes: Notes, offline: bool) -> Prompt | None:
    """The prompt of --texts that reads like a sentence; None where it is labels after all."""
    from glip_cli.checkpoints.tagger import load_tagger
    from glip_cli.prompts.compile import sentence_prompt
    from glip_cli.prompts.labels import parse_texts

    otherwise = "one label" if len(parse_texts([text])) == 1 else "labels"
    try:
        prompt = sentence_prompt(text, load_tagger(offline=offline, report=DownloadBar(notes)))
    except FetchError as error:
        notes.note(f"{quoted(text)} is taken as {otherwise}, because {error}")
        return None
    if prompt:
        notes.say(f"a caption, with the parts: {listed(prompt.labels)} (to take it as {otherwise}: -c)")
    return prompt


def _noun_phrases(text: str, notes: Notes, offline: bool) -> tuple[Span, ...]:
    from glip_cli.checkpoints.tagger import load_tagger
    from glip_cli.prompts.noun_phrases import noun_phrases

    return noun_phrases(text, load_tagger(offline=offline, report=DownloadBar(notes)))


def read_options(
    question: DetectPromptFlags, keeping: FilterFlags, viewing: ResizeFlags, prompt: Prompt, batch_size: int
) -> DetectOptions:
    """What the flags of `detect` and `batch` ask for besides the prompt. Raises UsageError."""
    from glip_cli.prompts.labels import parse_texts
    from glip_cli.types import DetectOptions

    return DetectOptions(
        threshold=keeping.threshold,
        class_thresholds=_class_thresholds(keeping, prompt),
        negatives=parse_texts(question.negative) if question.negative else (),
        chunked_size=question.chunked_size,
        top_k=keeping.top_k,
        nms_iou=keeping.nms_iou,
        agnostic_nms=keeping.agnostic_nms,
        knowledge=read_definitions(question.knowledge),
        batch_size=batch_size,
        **read_views(viewing),
    )


def read_views(viewing: ResizeFlags) -> dict[str, Any]:
    """As fields of DetectOptions. Raises UsageError."""
    return {**vars(viewing), "size": parse_size(viewing.size) if viewing.size else None}


def read_definitions(knowledge: Path | None) -> Mapping[str, str] | None:
    """Raises UsageError."""
    from glip_cli.prompts.definitions import read_knowledge

    return read_knowledge(knowledge) if knowledge else None


def read_batch_size(asked: int | None, device: str) -> int:
    """One at a time on a CPU, which several keep no busier. Raises DeviceError."""
    from glip_cli.inference.device import pick_device

    if asked is not None:
        return asked
    return 1 if pick_device(device).type == "cpu" else 8


def note_dtype(loading: ModelFlags, notes: Notes) -> None:
    """Say so where the number format that was asked for is slow. Raises DeviceError."""
    if loading.dtype == "bfloat16":
        from glip_cli.inference.device import dtype_notes, pick_device

        notes.note(*dtype_notes("--dtype bfloat16", pick_device(loading.device)))


def _class_thresholds(keeping: FilterFlags, prompt: Prompt) -> dict[str, float]:
    """Those of --thresholds FILE for labels of the prompt, and over them those of --class-threshold."""
    chosen: dict[str, float] = {}
    if keeping.thresholds:
        from glip_cli.evaluation.calibrate import read_thresholds

        chosen = {
            label: value for label, value in read_thresholds(keeping.thresholds).items() if label in prompt.labels
        }
        if not chosen:
            raise UsageError(f"--thresholds {keeping.thresholds}: none of its labels is asked for")
    return chosen | parse_class_thresholds(keeping.class_threshold or [])


def threshold_notes(keeping: FilterFlags, model: str) -> list[str]:
    """What is odd about --thresholds FILE, now that the model is known."""
    if keeping.thresholds is None:
        return []
    from glip_cli.evaluation.calibrate import of_another_model

    return list(filter(None, [of_another_model(keeping.thresholds, model)]))


def print_explanation(chunks: Sequence[Chunk]) -> None:
    """Label -> text -> tokens, as a table on stderr: stdout is for results."""
    from glip_cli.prompts.chunking import explain

    table = Table("label", "text", "span", "token: place and piece", title=None, header_style="bold")
    for row in explain(tuple(chunks)):
        spans = " ".join(f"{begin}-{end}" for begin, end in row.spans)
        tokens = " ".join(f"{place}:{piece}" for place, piece in row.tokens)
        table.add_row(row.label, str(row.chunk), spans, tokens)
    stderr.print(table)
    for number, chunk in enumerate(chunks):
        used = len(chunk.tokens.ids)
        stderr.print(f"text {number}: {len(chunk.label_ids)} labels, {used} tokens", markup=False)
