"""`Detector`: a loaded model on its device; images and a prompt in, `Detections` out. Threads may share one.

Every command detects through it:

    detector = Detector.load("glip-t")
    found = detector("photo.jpg", "cat . remote .", threshold=0.4)    # one image: Detections
    found = detector(["a.jpg", "b.jpg"], ["cat", "remote"])           # several: a list of them
    for found in detector.predict(paths, "cat"): ...                  # any number, one at a time
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, zip_longest
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Unpack, cast, overload

import torch
from PIL import Image

from glip_cli.checkpoints.fetch import ProgressCallback
from glip_cli.checkpoints.parts import load_detector_parts
from glip_cli.data.image_input import shown_file
from glip_cli.data.image_io import ImageSource, read_image
from glip_cli.errors import FetchError, ImageError, OptionError, PromptError, UsageError
from glip_cli.inference.batch_detector import BatchDetector
from glip_cli.inference.device import pick_device, pick_dtype
from glip_cli.inference.feature_extractor import Extractor, Text
from glip_cli.inference.features import Features
from glip_cli.model.glip import Glip
from glip_cli.options import DetectKeywords, DetectOptions, FeatureKeywords, FeatureOptions
from glip_cli.prompts.compile import (
    CompiledPrompt,
    PromptCompiler,
    PromptLike,
    as_list,
    check_class_thresholds,
    to_prompt,
)
from glip_cli.prompts.labels import sentence_of
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.request import sentence_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import Words, words_for
from glip_cli.types import Detections, Prompt
from glip_cli.utils.lru_cache import LastUsed
from glip_cli.utils.text_format import quoted

CACHED_SENTENCES = 256


class Detector(BatchDetector):
    """See the module's docstring.

    Attributes:
        name: the model and the start of its file's hash, "glip-t@c24ce662", with an adapter
            "glip-t@c24ce662+blood@1f0c88a2"; it goes into every record.
        prompt_tuned_labels: the words of the labels that the prompt was tuned for; () without prompt tuning.
        labels: that the model was tuned for, and detects without a prompt; () for any other model.
        words: label -> the words that the model reads for it, where they differ.
    """

    def __init__(
        self,
        model: Glip,
        tokenizer: Tokenizer,
        name: str,
        device: str = "auto",
        dtype: str = "auto",
        *,
        prompt_tuned_labels: tuple[str, ...] = (),
        labels: tuple[str, ...] = (),
        use_cls: bool = False,
        offline: bool = True,
        compile: bool = False,
        words: Words = MappingProxyType({}),
    ):
        """`model` itself is not changed: see `device.for_inference`. Raises DeviceError."""
        super().__init__(model, device, dtype, compile)
        self.name = name
        self.prompt_tuned_labels = prompt_tuned_labels
        self.labels = labels
        self.words = dict(words)
        self.offline = offline
        self.tokenizer = tokenizer
        tuned_words = words_for(labels, words)
        self.prompt_compiler = PromptCompiler.of(
            tokenizer, model.config, name, prompt_tuned_labels, use_cls, tuned_words
        )
        self._sentences: LastUsed[str, Prompt | None] = LastUsed()

    @classmethod
    def load(
        cls,
        model: str | None = None,
        *,
        weights: str | Path | None = None,
        bert: str | Path | None = None,
        adapter: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        offline: bool = False,
        report: ProgressCallback | None = None,
    ) -> Detector:
        """Load a model by its name in weights.toml, or from a file.

        Args:
            model: "glip-t" (the default), "glip-l", "glip-nano" ...; or a folder of `glip finetune`.
            weights: a checkpoint file: safetensors, mmdetection's or the official .pth. With `model`, it must be of
                that model's architecture; else the architecture is recognised.
            bert: a folder with vocab.txt or tokenizer.json, instead of the model's own vocabulary.
            adapter: a folder of `glip finetune`; without `model` and `weights`, its own base is loaded.
            device: "auto", "cpu", "cuda", "cuda:1", "mps".
            dtype: "auto" (float32, the published answers), "bfloat16" or "float16".
            compile: let torch compile the network, a graph for each of the first 8 shapes; the first answers then
                take minutes, and DeviceError is raised at the first where this machine cannot compile.
            offline: never use the network.
            report: called during downloads.

        Raises:
            WeightsError, DeviceError.
        """
        torch_device = pick_device(device)
        torch_dtype = pick_dtype(dtype, torch_device)  # before a download, not after
        parts = load_detector_parts(model, weights=weights, bert=bert, adapter=adapter, offline=offline, report=report)
        kwargs = {**vars(parts), "tokenizer": Tokenizer.from_dir(parts.tokenizer)}
        parts.model.to(torch_device, torch_dtype).to(
            memory_format=torch.channels_last
        )  # in place: it is used only here
        return cls(**kwargs, device=device, dtype=dtype, offline=offline, compile=compile)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self, images: ImageSource, prompt: PromptLike | None = None, **options: Unpack[DetectKeywords]
    ) -> Detections: ...
    @overload
    def __call__(
        self,
        images: Sequence[ImageSource],
        prompt: PromptLike | None = None,
        *,
        prompts: Iterable[PromptLike] | None = None,
        **options: Unpack[DetectKeywords],
    ) -> list[Detections]: ...

    def __call__(
        self,
        images: ImageSource | Sequence[ImageSource],
        prompt: PromptLike | None = None,
        *,
        prompts: Iterable[PromptLike] | None = None,
        **options: Unpack[DetectKeywords],
    ) -> Detections | list[Detections]:
        """Detect in one image or in several.

        Args:
            images: path, bytes, PIL image or uint8 RGB array [H, W, 3]; or a list of those.
            prompt: "cat . remote ."; a sentence, whose noun phrases are the labels, as on the command line; a list of
                labels; {"container": "shipping container"}, label -> the words that the model reads for it; a `Prompt`;
                or None for the labels that the model was tuned for.
            prompts: one for each image of a list, instead of `prompt`.
            options: the fields of `DetectOptions`.

        Raises:
            ImageError, PromptError, OptionError, UsageError.
        """
        if isinstance(images, list | tuple):
            return list(self.predict(images, prompt, prompts=prompts, **options))
        if prompts is not None:
            raise UsageError("prompts are for a list of images; for one image give a prompt")
        return next(self.predict([cast(ImageSource, images)], prompt, **options))

    def predict(
        self,
        images: Iterable[ImageSource],
        prompt: PromptLike | None = None,
        *,
        prompts: Iterable[PromptLike] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        **options: Unpack[DetectKeywords],
    ) -> Iterator[Detections]:
        """Detect in any number of images, in order; each is read when its turn comes.

        Args:
            images, prompt, options: as for a call.
            prompts: one for each image; neighbours with equal prompts share a batch. A label of `class_thresholds` is
                one of any of them.
            on_error: "skip" passes over an image that cannot be read, with a warning.

        Raises:
            As a call. Errors of an image or of one of `prompts` are raised when its turn comes.
        """
        if on_error not in ("raise", "skip"):
            raise OptionError("on_error", on_error, 'it is "raise" or "skip"')
        if isinstance(images, str | bytes) or not isinstance(images, Iterable):
            raise UsageError("images come as a list; for one image call the detector itself: detector(image, prompt)")
        if prompts is not None:
            if prompt is not None:
                raise UsageError("give either a prompt for all images or prompts, one for each, not both")
            if isinstance(prompts, str | Mapping | Prompt) or not isinstance(prompts, Iterable):
                raise UsageError("prompts come as a list, one for each image; one for all images is a prompt")
            return self._predict_each(images, prompts, on_error, options)
        detect_options = DetectOptions(**options)
        compiled = self.compile_prompt(prompt, detect_options)
        read: deque[tuple[Image.Image, str]] = deque()

        def reading() -> Iterator[Image.Image]:
            for source in images:
                try:
                    image = read_image(source)
                except ImageError as error:
                    if on_error != "skip":
                        raise
                    warnings.warn(f"skipped {error}", stacklevel=2)
                    continue
                read.append((image, shown_file(str(source), str(source)) if isinstance(source, str | Path) else ""))
                yield image

        return (self._named(found, *read.popleft()) for found in self.stream(reading(), compiled, detect_options))

    def _predict_each(
        self,
        images: Iterable[ImageSource],
        prompts: Iterable[PromptLike],
        on_error: Literal["raise", "skip"],
        options: DetectKeywords,
    ) -> Iterator[Detections]:
        """Each prompt with the thresholds of its own labels. One of no prompt's label is an error, at once for a list.

        Raises OptionError.
        """
        all_options, seen = DetectOptions(**options), dict[str, None]()
        if all_options.class_thresholds and isinstance(prompts, list | tuple):
            seen = {label: None for prompt in prompts for label in self.read_prompt(prompt).labels}
            check_class_thresholds(all_options, seen)
        for prompt, group in groupby(_paired(images, prompts), key=itemgetter(1)):
            if all_options.class_thresholds:
                labels = self.read_prompt(prompt).labels
                seen |= dict.fromkeys(labels)
                options = {**options, "class_thresholds": all_options.for_labels(labels).class_thresholds}
            yield from self.predict((image for image, _ in group), prompt, on_error=on_error, **options)
        check_class_thresholds(all_options, seen)

    def _named(self, detections: Detections, image: Image.Image, name: str) -> Detections:
        return replace(detections, image=image, name=name, model=self.name)

    @overload
    def features(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self, images: ImageSource, prompt: PromptLike | None = None, **options: Unpack[FeatureKeywords]
    ) -> Features: ...
    @overload
    def features(
        self, images: Sequence[ImageSource], prompt: PromptLike | None = None, **options: Unpack[FeatureKeywords]
    ) -> list[Features]: ...

    def features(
        self,
        images: ImageSource | Sequence[ImageSource],
        prompt: PromptLike | None = None,
        **options: Unpack[FeatureKeywords],
    ) -> Features | list[Features]:
        """The feature maps of one image or of several, and the similarity of their regions to a prompt.

        Args:
            images: as for detecting.
            prompt: as for detecting; None for features of the image alone.
            options: the fields of `FeatureOptions`: which, pool, size, batch_size.

        Raises:
            ImageError, PromptError, UsageError.
        """
        extractor = self.extractor(FeatureOptions(**options), prompt)
        if isinstance(images, list | tuple):
            return list(extractor.stream(map(read_image, images)))
        return next(extractor.stream([read_image(cast(ImageSource, images))]))

    @torch.inference_mode()
    def extractor(self, options: FeatureOptions, prompt: PromptLike | None = None) -> Extractor:
        """The feature extractor for many images. Raises PromptError where the labels do not fit one text."""
        text = None
        if prompt is not None:
            chunks = self.compile_prompt(prompt, DetectOptions()).chunks
            if len(chunks) > 1:
                raise PromptError(
                    f"the labels take {len(chunks)} texts, and features belong to one: name fewer at once"
                )
            text = Text(chunks[0], *self._encode_text(chunks[0].tokens.ids))
        size = self.image_size(options.size)
        return Extractor(self.model.backbone, options, self.device, self.dtype, size, self.model, text)

    def compile_prompt(self, prompt: PromptLike | None, options: DetectOptions) -> CompiledPrompt:
        """Compile a prompt for many images. Raises PromptError, or UsageError for what the model cannot do."""
        return self.prompt_compiler.compile_prompt(self.read_prompt(prompt), options)

    def read_prompt(self, prompt: PromptLike | None) -> Prompt:
        """A prompt as `__call__` takes it. Raises PromptError."""
        prompt = self.own_prompt if prompt is None else as_list(prompt)
        if not prompt:
            raise PromptError("no prompt: give labels, as in ['cat', 'remote'], or a model that was tuned for some")
        sentence = sentence_of([prompt]) if isinstance(prompt, str) else None
        return (self._caption(sentence) if sentence else None) or to_prompt(prompt)

    @property
    def fixed_labels(self) -> tuple[str, ...]:
        """The labels of a model with a fixed prompt; () for any other."""
        return ()

    @property
    def own_prompt(self) -> Prompt | None:
        """The prompt of the labels that the model was tuned for. Raises PromptError for invalid labels."""
        return label_prompt(self.labels, self.words) if self.labels else None

    def _caption(self, sentence: str) -> Prompt | None:
        """The prompt of a sentence; None, with a warning, where its noun phrases cannot be found."""
        from glip_cli.checkpoints.tagger import load_tagger  # imports nltk

        try:
            return self._sentences.get(
                sentence, lambda: sentence_prompt(sentence, load_tagger(offline=self.offline)), CACHED_SENTENCES
            )
        except FetchError as error:
            warnings.warn(f"{quoted(sentence)} is read as labels, because {error}", stacklevel=5)
            return None


def _paired(images: Iterable[ImageSource], prompts: Iterable[PromptLike]) -> Iterator[tuple[ImageSource, PromptLike]]:
    """Raises UsageError where one of the two ends first."""
    end = object()
    for image, prompt in zip_longest(images, prompts, fillvalue=end):
        if image is end or prompt is end:
            fewer, more = ("images", "prompts") if image is end else ("prompts", "images")
            raise UsageError(f"there are fewer {fewer} than {more}: give one prompt for each image")
        yield cast(ImageSource, image), as_list(cast(PromptLike, prompt))
