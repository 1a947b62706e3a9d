"""A sentence -> what the model is asked: its [bracketed] words, or else its noun phrases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from glip_cli.data.captions import is_marked
from glip_cli.prompts.noun_phrases import Tagger, noun_phrases
from glip_cli.prompts.prompt import caption_prompt
from glip_cli.prompts.spans import read_brackets
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.types import Prompt, Span


class Sentence(NamedTuple):
    """A caption without brackets, and its prompt; None where it has no noun phrase."""

    text: str
    prompt: Prompt | None


def read_sentence(caption: str, tagger: Tagger | None, tokenizer: Tokenizer, window: int) -> Sentence:
    """Args:
        tagger: finds noun phrases; None where every caption has brackets.
        window: tokens that the model reads; parts behind them are left out, as in training.

    Raises PromptError, for brackets that do not match.
    """
    if is_marked(caption) or tagger is None:
        text, parts = read_brackets(caption)
    else:
        text, parts = caption, noun_phrases(caption, tagger)
    read = _within(parts, text, tokenizer, window)
    return Sentence(text, caption_prompt(text, parts=read) if read else None)


def _within(parts: Sequence[Span], text: str, tokenizer: Tokenizer, window: int) -> list[Span]:
    """Those that the model reads to their end."""
    end = tokenizer.end(text, parts, window)
    return [part for part in parts if part[1] <= end]
