"""The inputs of a run of `glip batch`: images and one prompt for all, or --prompts, a file with one for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.cli.command import Values
from glip_cli.cli.console import Console
from glip_cli.cli.flags import PromptFlags
from glip_cli.cli.model import Model
from glip_cli.cli.parse import check_inputs, read_options, read_prompt, tagger_on_demand
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions
from glip_cli.utils.text_format import counted, one_line, shown_url

if TYPE_CHECKING:
    from glip_cli.data.frame_inputs import FrameChoice
    from glip_cli.data.prompted import PromptsSummary
    from glip_cli.data.sources import ImageInput
    from glip_cli.types import Prompt


@dataclass(frozen=True)
class BatchInputs:
    """
    Attributes:
        named: the inputs as run.json has them.
        count: how many images there are, which may take long; None where that cannot be known.
        prompt: of all images; None where each has its own.
        prompts: that prompt, or the summary of the file of prompts.
        root: the folder that what is made from images mirrors.
        passed: notes on what was passed over, once all images are done.
        videos: those among `sources`, once all of these were taken.
    """

    sources: Iterable[ImageInput]
    named: Sequence[str]
    count: Callable[[], int | None] | None
    prompt: Prompt | None
    prompts: Prompt | PromptsSummary
    options: DetectOptions
    root: str = ""
    passed: Callable[[], Sequence[str]] = tuple
    videos: Sequence[ImageInput] = ()


@dataclass(frozen=True)
class InputReader:
    """Reads the inputs from the flags; contradictions are refused before the model is loaded.

    Attributes:
        values: fields of `DetectOptions`.
        thresholds: a file with thresholds of labels.
        own: folders, or URLs of some, into which the run writes images.
        frames: which are read of videos, and of images that hold several.
    """

    prompt_flags: PromptFlags
    model: Model
    values: Values
    thresholds: Path | None
    batch_size: int
    console: Console
    offline: bool
    own: Sequence[Path | str]
    frames: FrameChoice

    def read(self, inputs: Sequence[str] | None, prompts: Path | None) -> BatchInputs:
        """Raises UsageError, DataError, FetchError, WeightsError."""
        return self._one_prompt(check_inputs(inputs)) if prompts is None else self._a_prompt_each(inputs, prompts)

    def _one_prompt(self, inputs: Sequence[str]) -> BatchInputs:
        from glip_cli.data.frame_inputs import count_images
        from glip_cli.data.image_files_below import VIDEO_ADVICE, Passed
        from glip_cli.data.sources import ImageInput, common_folder, expand, is_cheap_to_count
        from glip_cli.runs.videos import noting_videos

        flags, own, frames = self.prompt_flags, self.own, self.frames
        prompt = read_prompt(flags, self.console, self.offline, None if flags.given else self.model.own_prompt())
        options = read_options(self.values, prompt.labels, self.thresholds, self.batch_size)
        passed, videos = Passed(advice=VIDEO_ADVICE), list[ImageInput]()
        sources = expand(inputs, offline=self.offline, own=own, passed=passed, frames=frames)
        return BatchInputs(
            noting_videos(sources, videos),
            [shown_url(text) if "://" in text else text for text in inputs],
            (lambda: count_images(expand(inputs, own=own), frames)) if is_cheap_to_count(inputs) else None,
            prompt, prompt, options, common_folder(inputs), lambda: passed.notes, videos,
        )  # fmt: skip

    def _a_prompt_each(self, inputs: Sequence[str] | None, prompts: Path) -> BatchInputs:
        from glip_cli.data.prompted import PromptFile
        from glip_cli.prompts.compile import check_class_thresholds, threshold_notes

        if inputs:
            raise UsageError("--prompts FILE names the images too: leave out INPUT")
        if self.frames.all:
            raise UsageError("--prompts FILE names whole images: leave out --frames and --every")
        if self.prompt_flags.given:
            raise UsageError("--prompts FILE gives each image its prompt: leave out --texts, --caption, --phrases and "
                             "--tokens-positive")  # fmt: skip
        tagger = tagger_on_demand(self.console, self.offline)
        file = PromptFile(prompts, tagger, custom_entities=self.prompt_flags.custom_entities, offline=self.offline)
        plain = read_options({**self.values, "class_thresholds": {}}, (), None, self.batch_size)
        general = threshold_notes(plain)

        def check(prompt: Prompt) -> tuple[str, ...]:
            return tuple(note for note in self.model.check(prompt, plain) if note not in general)

        summary = file.summary(check)
        options = read_options(self.values, summary.labels, self.thresholds, self.batch_size)
        check_class_thresholds(options, summary.labels)
        self.console.info(f"{counted(summary.images, 'image')} with {counted(summary.prompts, 'prompt')}, "
                          f"{counted(len(summary.labels), 'label')} in all")  # fmt: skip
        self.console.warn(*threshold_notes(options), *summary.notes)
        return BatchInputs(
            file, [f"--prompts {one_line(str(prompts))}"], lambda: summary.images, None, summary, options
        )
