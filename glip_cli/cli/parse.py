"""What the flags that commands share ask for: the prompt, the options, and the prompt's explanation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from glip_cli.cli.command import Values
from glip_cli.cli.console import Console, DownloadBar, stderr
from glip_cli.cli.flags import ModelFlags, ModelSourceFlags, PromptFlags
from glip_cli.errors import FetchError, UsageError
from glip_cli.options import DetectOptions
from glip_cli.prompts.labels import parse_texts
from glip_cli.utils.text_format import listed, quoted

if TYPE_CHECKING:
    from glip_cli.detector import Detector
    from glip_cli.prompts.chunking import Chunk
    from glip_cli.types import Prompt, Span


def check_inputs(inputs: Sequence[str] | None) -> list[str]:
    """Raises UsageError where there are none."""
    if not inputs:
        raise UsageError("no INPUT: give an image, a folder, a glob, a URL, @list.txt or -")
    return list(inputs)


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


def read_prompt(words: PromptFlags, console: Console, offline: bool, own: Sequence[str] = ()) -> Prompt:
    """The prompt that the flags describe, else that of the model's `own` labels; which it is goes to stderr.

    A single --texts that reads like a sentence is a caption, unless --custom-entities says that it is a label.
    Raises UsageError; FetchError where a --caption needs the tagger and it cannot be had.
    """
    from glip_cli.prompts.labels import sentence_of
    from glip_cli.prompts.prompt import label_prompt, texts_prompt

    texts = words.texts or []
    if own and not words.given:
        console.info(f"labels of the model: {listed(own)}")
        return label_prompt(own)
    if bool(texts) == (words.caption is not None):
        raise UsageError("say what to find with --texts 'cat . remote .', or with --caption")
    if words.caption is not None:
        return _caption(words.caption, words, console, offline)
    if words.phrases or words.tokens_positive:
        raise UsageError("--phrases and --tokens-positive name parts of a --caption, not of --texts")
    sentence = None if words.custom_entities else sentence_of(texts)
    if sentence and (prompt := _sentence(sentence, console, offline)):
        return prompt
    prompt = texts_prompt(texts)
    console.info(f"labels: {listed(prompt.labels)}")
    return prompt


def _caption(caption: str, words: PromptFlags, console: Console, offline: bool) -> Prompt:
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
        found = _noun_phrases(caption, console, offline)
        if not found:
            raise UsageError(
                f"no noun phrase in the caption {quoted(caption)}; name parts with --phrases or as [bracketed] words"
            )
        prompt = caption_prompt(caption, parts=found)
    console.info(f"parts of the caption: {listed(prompt.labels)}")
    return prompt


def _sentence(text: str, console: Console, offline: bool) -> Prompt | None:
    """The prompt of --texts that reads like a sentence; None where it is labels after all."""
    from glip_cli.checkpoints.tagger import load_tagger
    from glip_cli.prompts.compile import sentence_prompt
    from glip_cli.prompts.labels import parse_texts

    otherwise = "one label" if len(parse_texts([text])) == 1 else "labels"
    try:
        prompt = sentence_prompt(text, load_tagger(offline=offline, report=DownloadBar(console)))
    except FetchError as error:
        console.warn(f"{quoted(text)} is taken as {otherwise}, because {error}")
        return None
    if prompt:
        console.info(f"a caption, with the parts: {listed(prompt.labels)} (to take it as {otherwise}: -c)")
    return prompt


def _noun_phrases(text: str, console: Console, offline: bool) -> tuple[Span, ...]:
    from glip_cli.checkpoints.tagger import load_tagger
    from glip_cli.prompts.noun_phrases import noun_phrases

    return noun_phrases(text, load_tagger(offline=offline, report=DownloadBar(console)))


def read_options(values: Values, prompt: Prompt, thresholds: Path | None = None, batch_size: int = 1) -> DetectOptions:
    """What the flags ask for besides the prompt; `thresholds` is a file, which --class-threshold beats.

    Raises UsageError.
    """
    values = {"batch_size": batch_size, **values, **read_definitions(values)}
    if negatives := values.get("negatives"):
        values["negatives"] = parse_texts(negatives)
    if thresholds:
        values["class_thresholds"] = _thresholds_of(thresholds, prompt) | values.get("class_thresholds", {})
    return DetectOptions(**values)


def read_definitions(values: Values) -> Values:
    """The definitions in the file of --knowledge, if it is given. Raises UsageError."""
    from glip_cli.prompts.definitions import read_knowledge

    return {"knowledge": read_knowledge(values["knowledge"])} if "knowledge" in values else {}


def read_batch_size(asked: int | None, device: str) -> int:
    """One at a time on a CPU, which several keep no busier. Raises DeviceError."""
    from glip_cli.inference.device import pick_device

    if asked is not None:
        return asked
    return 1 if pick_device(device).type == "cpu" else 8


def note_dtype(loading: ModelFlags, console: Console) -> None:
    """Say so where the number format that was asked for is slow. Raises DeviceError."""
    if loading.dtype == "bfloat16":
        from glip_cli.inference.device import dtype_notes, pick_device

        console.warn(*dtype_notes("--dtype bfloat16", pick_device(loading.device)))


def _thresholds_of(file: Path, prompt: Prompt) -> dict[str, float]:
    """Those for labels of the prompt. Raises UsageError where there are none."""
    from glip_cli.evaluation.calibrate import read_thresholds

    chosen = {label: value for label, value in read_thresholds(file).items() if label in prompt.labels}
    if not chosen:
        raise UsageError(f"--thresholds {file}: none of its labels is asked for")
    return chosen


def threshold_notes(file: Path | None, model: str) -> list[str]:
    """What is odd about --thresholds FILE, now that the model is known."""
    if file is None:
        return []
    from glip_cli.evaluation.calibrate import of_another_model

    return list(filter(None, [of_another_model(file, model)]))


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
