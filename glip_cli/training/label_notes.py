"""What is worth saying of the labels of training sets, as the model reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from glip_cli.prompts.chunking import vocabulary_notes
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import Words, other_words, words_for
from glip_cli.training.data_args import AnySet
from glip_cli.training.dataset import TrainSet
from glip_cli.training.init_model import Start
from glip_cli.utils.text_format import listed


def label_notes(start: Start, sets: Sequence[AnySet], words: Words | None) -> Iterator[str]:
    """Words that the model remembers; class names that the vocabulary lacks, or that it cannot tell apart."""
    labels = tuple(dict.fromkeys(label for one in sets for label in one.labels))
    if words == start.words and (read := other_words(labels, start.words)):
        yield f"words of {start.name}: {listed(f'{text} = {label}' for label, text in read.items())}"
    tuned = start.prompt_tuned_labels
    if tuned and words_for(labels, words or {}) != tuned:
        yield (f"note: {start.name} was tuned for the prompt of {listed(tuned)}, in this order; what was "
               "added to its tokens stays, for other labels now")  # fmt: skip
    tokenizer = Tokenizer.from_dir(start.tokenizer)
    if tokenizer.learns_words:
        return
    for labels in dict.fromkeys(one.labels for one in sets if isinstance(one, TrainSet) and one.labels):
        for note in vocabulary_notes(label_prompt(labels, words or {}), tokenizer):
            yield f"note: {note}"
