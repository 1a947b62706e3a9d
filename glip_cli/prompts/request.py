"""The prompt flags of the command line -> a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glip_cli.errors import FetchError, UsageError
from glip_cli.options import PromptRequest
from glip_cli.prompts.labels import parse_texts, sentence_of
from glip_cli.prompts.prompt import caption_prompt, texts_prompt, typed_labels
from glip_cli.prompts.spans import parse_tokens_positive, read_brackets
from glip_cli.types import Prompt
from glip_cli.utils.text_format import listed, quoted

if TYPE_CHECKING:
    from glip_cli.prompts.noun_phrases import Tagger

GetTagger = Callable[[], "Tagger"]
"""The tagger that finds noun phrases, loaded where a prompt needs it. Raises FetchError."""


@dataclass(frozen=True)
class ReadPrompt:
    """A prompt, and in one line how its request was read; `warning` says why it was not read as a sentence."""

    prompt: Prompt
    summary: str
    warning: str = ""


def read_request(
    request: PromptRequest, get_tagger: GetTagger, model_prompt: Prompt | None = None, *, files: bool = True
) -> ReadPrompt:
    """The prompt of a request; without one, `model_prompt`, the model's own.

    A single text that reads like a sentence is a caption, unless `custom_entities` says that it is a label. So is
    "a = b" then, and not words for a class.

    Args:
        files: False where no file may be read: "@labels.txt" is then refused.

    Raises UsageError; FetchError where a caption needs the tagger and it cannot be had.
    """
    texts = request.texts or []
    if model_prompt and not request.given:
        return ReadPrompt(model_prompt, f"labels of the model: {listed(typed_labels(model_prompt))}")
    if texts and request.caption is not None:
        raise UsageError("--texts and --caption each say what to find: take one of them")
    if not texts and request.caption is None:
        raise UsageError("say what to find with --texts 'cat . remote .', or with --caption")
    if request.caption is not None:
        prompt = _caption(request.caption, request, get_tagger)
        return ReadPrompt(prompt, f"parts of the caption: {listed(prompt.labels)}")
    if request.phrases or request.tokens_positive:
        raise UsageError("--phrases and --tokens-positive name parts of a --caption, not of --texts")
    if not files and (label_files := [text for text in texts if text.strip().startswith("@")]):
        raise UsageError(f"{quoted(label_files[0])}: files of labels are not read here; give the labels themselves")
    sentence = None if request.custom_entities else sentence_of(texts)
    warning = ""
    if sentence:
        try:
            if caption := _sentence(sentence, get_tagger):
                return caption
        except FetchError as error:
            warning = f"{quoted(sentence)} is taken as {_otherwise(sentence)}, because {error}"
    prompt = texts_prompt(texts, files=files, exact=request.custom_entities)
    return ReadPrompt(prompt, f"labels: {_described(prompt)}", warning)


def sentence_prompt(text: str, tagger: Tagger) -> Prompt | None:
    """The prompt of a text that reads like a caption (`labels.sentence_of`): its noun phrases are the labels.

    None where it has none, or where they are the same as its labels.
    """
    from glip_cli.prompts.noun_phrases import noun_phrases  # imports nltk

    phrase_spans = noun_phrases(text, tagger)
    if not phrase_spans or [text[begin:end] for begin, end in phrase_spans] == list(parse_texts([text])):
        return None
    return caption_prompt(text, parts=phrase_spans)


def _sentence(text: str, get_tagger: GetTagger) -> ReadPrompt | None:
    prompt = sentence_prompt(text, get_tagger())
    if prompt is None:
        return None
    how = f"a caption, with the parts: {listed(prompt.labels)} (to take it as {_otherwise(text)}: -c)"
    return ReadPrompt(prompt, how)


def _described(prompt: Prompt) -> str:
    words = " (words = class)" if prompt.words != prompt.labels else ""
    return f"{listed(typed_labels(prompt))}{words}"


def _otherwise(sentence: str) -> str:
    return "one label" if len(parse_texts([sentence])) == 1 else "labels"


def _caption(caption: str, request: PromptRequest, get_tagger: GetTagger) -> Prompt:
    """The prompt of a caption: labels by `phrases` or `tokens_positive`, by [brackets], or else its noun phrases."""
    if not caption.strip():
        raise UsageError("the caption is blank; write a sentence")
    if request.phrases or request.tokens_positive:
        spans = parse_tokens_positive(request.tokens_positive) if request.tokens_positive else None
        return caption_prompt(caption, spans=spans, phrases=request.phrases or None)
    if "[" in caption or "]" in caption:
        text, parts = read_brackets(caption)
        return caption_prompt(text, parts=parts)

    from glip_cli.prompts.noun_phrases import noun_phrases  # imports nltk

    phrase_spans = noun_phrases(caption, get_tagger())
    if not phrase_spans:
        raise UsageError(
            f"no noun phrase in the caption {quoted(caption)}; name parts with --phrases or as [bracketed] words"
        )
    return caption_prompt(caption, parts=phrase_spans)
