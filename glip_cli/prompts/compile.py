"""A prompt made ready for a model: the texts to ask with, and how to report what it answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from glip_cli.errors import OptionError, PromptError, UsageError
from glip_cli.model.config import Config, GlipConfig
from glip_cli.options import PRE_NMS_SCORE_THRESHOLD, DetectOptions
from glip_cli.prompts.chunking import Chunk, chunk, gather_notes, vocabulary_notes
from glip_cli.prompts.definitions import knowledge_chunks
from glip_cli.prompts.labels import mentions_left_or_right
from glip_cli.prompts.prompt import Labels, display_text, label_prompt, texts_prompt, with_negatives
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.types import Prompt, Span
from glip_cli.utils.text_format import QUOTED, listed, quoted, shorten

PromptLike = str | Labels | Prompt
"""A text of labels ("cat . remote ."), a list of labels taken as they are, label -> words to read, or a `Prompt`."""


@dataclass(frozen=True)
class CompiledPrompt:
    """A prompt made ready: what to ask the model, and how to report what it says.

    Attributes:
        chunks: the texts to ask with.
        labels: what is reported, as typed; later label ids in the chunks are negatives.
        text, spans: the prompt for display, and the first span of each reported label in it.
        notes: remarks for the user.
        nms_iou: of two boxes that overlap more, the better stays.
    """

    chunks: tuple[Chunk, ...]
    labels: tuple[str, ...]
    text: str
    spans: tuple[Span, ...]
    notes: tuple[str, ...]
    nms_iou: float = GlipConfig.nms_iou


@dataclass(frozen=True)
class PromptCompiler:
    """Makes prompts ready for one model.

    Attributes:
        window: tokens that a text may have.
        fused: whether text and image meet before the end.
        name: of the model.
        prompt_tuned_labels: what is read for the labels that a prompt's offset was tuned for, or nothing.
        use_cls: whether a definition is read by [CLS], else by the tokens of its name.
        nms_iou: as in `CompiledPrompt`, unless the options say otherwise.
        tuned_words: what is read for the labels that the model was tuned for in any way.
    """

    tokenizer: Tokenizer
    window: int
    fused: bool
    name: str
    prompt_tuned_labels: tuple[str, ...] = ()
    use_cls: bool = False
    nms_iou: float = GlipConfig.nms_iou
    tuned_words: tuple[str, ...] = ()

    @classmethod
    def of(cls, tokenizer: Tokenizer, config: Config, name: str, prompt_tuned_labels: tuple[str, ...] = (),
           use_cls: bool = False, tuned: tuple[str, ...] = ()) -> PromptCompiler:  # fmt: skip
        fused = config.fusion is not None
        return cls(tokenizer, config.text.window, fused, name, prompt_tuned_labels, use_cls, config.nms_iou, tuned)

    def compile_prompt(self, prompt: PromptLike, options: DetectOptions) -> CompiledPrompt:
        """Make a prompt ready, once for many images. Raises PromptError."""
        prompt_read = to_prompt(prompt)
        check_class_thresholds(options, prompt_read.labels)
        full = prompt_read
        if options.negatives:
            if prompt_read.is_caption:
                raise PromptError("--negative does not go with a caption; name the labels with --texts")
            full = with_negatives(prompt_read, options.negatives)
        chunks = self._chunks(full, options)
        text, spans = display_text(prompt_read)
        # definitions tell names apart
        read = () if options.knowledge else vocabulary_notes(full, self.tokenizer, self.tuned_words)
        notes = (
            *self._tuning_notes(full),
            *gather_notes(full, chunks),
            *read,
            *mirroring_notes(chunks, options),
            *threshold_notes(options),
        )
        iou = self.nms_iou if options.nms_iou is None else options.nms_iou
        return CompiledPrompt(chunks, prompt_read.labels, text, spans, notes, iou)

    def _chunks(self, asked: Prompt, options: DetectOptions) -> tuple[Chunk, ...]:
        if options.knowledge is None:
            return chunk(asked, self.tokenizer, self.window, options.chunked_size)
        if self.fused:
            raise UsageError(f"--knowledge is for models without fusion, such as glip-t-a, not for {self.name}")
        return knowledge_chunks(asked, options.knowledge, self.tokenizer, self.window, use_cls=self.use_cls)

    def _tuning_notes(self, asked: Prompt) -> tuple[str, ...]:
        """A prompt-tuned offset fits the tokens of one text only."""
        if self.prompt_tuned_labels in ((), asked.words):
            return ()
        labels = listed(self.prompt_tuned_labels)
        return (f"this model was tuned for the prompt of {labels}, in this order; it may answer worse to another",)


def check_class_thresholds(options: DetectOptions, labels: Collection[str]) -> None:
    """Raises OptionError for a threshold of none of the labels."""
    missing = [label for label in options.class_thresholds if label not in labels]
    if missing:
        label = shorten(missing[0], QUOTED)
        raise OptionError("class_threshold", label, f"no such label; the labels are {listed(labels)}")


def as_list(prompt: PromptLike) -> PromptLike:
    """Labels in any sequence as a list, all else as it is. Raises PromptError for what is no prompt."""
    if isinstance(prompt, str | Mapping | Prompt):
        return prompt
    if hasattr(prompt, "tolist"):  # of numpy or pandas, whose labels and truth are their own
        return as_list(prompt.tolist())
    try:
        return list(prompt)
    except TypeError:
        raise PromptError(f"prompt {quoted(prompt)}: give a text, or a list of labels, as ['cat', 'remote']") from None


def to_prompt(prompt: PromptLike) -> Prompt:
    """A str is split into labels; the items of a list or mapping are labels. Raises PromptError."""
    prompt = as_list(prompt)
    if isinstance(prompt, Prompt):
        return prompt
    return texts_prompt([prompt]) if isinstance(prompt, str) else label_prompt(prompt)


def allows_mirroring(chunks: Sequence[Chunk]) -> bool:
    """Whether mirrored images give right answers for these texts, definitions included."""
    return not any(mentions_left_or_right(part.prompt.text) for part in chunks)


def mirroring_notes(chunks: Sequence[Chunk], options: DetectOptions) -> tuple[str, ...]:
    if options.tta and not allows_mirroring(chunks):
        return ("the prompt says left or right, which a mirror swaps: --tta goes without mirrored views",)
    return ()


def threshold_notes(options: DetectOptions) -> tuple[str, ...]:
    lowest = min([options.threshold, *options.class_thresholds.values()])
    if lowest < PRE_NMS_SCORE_THRESHOLD:
        return (f"threshold {lowest:g}: boxes whose label scores {PRE_NMS_SCORE_THRESHOLD:g} or less are never kept",)
    return ()


def with_negatives_reported(compiled: CompiledPrompt) -> CompiledPrompt:
    """The same prompt with its negatives reported too, under names that are not shown."""
    labels = max(number for part in compiled.chunks for number in part.label_ids) + 1
    negatives = labels - len(compiled.labels)
    return replace(
        compiled, labels=(*compiled.labels, *[""] * negatives), spans=(*compiled.spans, *[(0, 0)] * negatives)
    )
