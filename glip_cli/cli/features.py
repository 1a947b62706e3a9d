"""`glip features`: images in, a safetensors file of feature maps for each out; resumes after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from glip_cli.cli import flags
from glip_cli.cli.command import Fields, Values, command
from glip_cli.cli.console import BatchBar, Console, DownloadBar
from glip_cli.cli.exit import leave_if_failed, leave_stopped, stopping
from glip_cli.cli.parse import check_inputs, note_dtype, read_batch_size, read_prompt, tuned_prompt_of
from glip_cli.errors import UsageError
from glip_cli.options import OF_A_TEXT, FeatureOptions
from glip_cli.utils.option import HOW, OUTPUT, option
from glip_cli.utils.text_format import byte_size, counted

if TYPE_CHECKING:
    from glip_cli.inference.feature_extractor import Extractor
    from glip_cli.runs.features import FeatureJob
    from glip_cli.types import Prompt

EPILOG = "Example: glip features photos/ --texts 'cat . remote .' --which fpn,similarity -m glip-t -o maps"

Features = Annotated[Values, Fields(FeatureOptions, ("which", "pool"))]


@command
def features(
    *,
    inputs: flags.Inputs = None,
    words: flags.PromptFlags,
    features: Features,
    model_flags: flags.ModelFlags,
    size_options: flags.Size,
    batch_size: flags.AutoBatchSize = None,
    out_dir: flags.OutDir = Path("features"),
    save_dtype: str = option("float32", "float32 (default) or float16, half the size.", OUTPUT, "DTYPE"),
    overwrite: bool = option(False, "Write existing files again.", HOW),
    workers: flags.Workers = None,
    common: flags.CommonFlags,
) -> None:
    """Save the model's feature maps of images, and how their regions fit words."""
    from glip_cli.data.image_files_below import Passed
    from glip_cli.data.sources import common_folder, expand, is_cheap_to_count
    from glip_cli.outputs.files import FileNames
    from glip_cli.runs.items import name_items

    inputs = check_inputs(inputs)
    console, offline = Console(common.quiet), common.offline
    of_a_text = not set(features.get("which", ())).isdisjoint(OF_A_TEXT)
    own = tuned_prompt_of(model_flags) if of_a_text and not words.given else None  # its labels, where no text is given
    prompt = read_prompt(words, console, offline, own) if words.given or own else None
    passed = Passed()
    sources = expand(inputs, offline=offline, passed=passed)  # refuses what names no image before the model is loaded

    from glip_cli.inference.features import DTYPES
    from glip_cli.runs.features import FeatureFolder, FeatureJob

    if save_dtype not in DTYPES:
        raise UsageError(f"--save-dtype {save_dtype}: there are {', '.join(DTYPES)}")
    chosen = FeatureOptions(**features, **size_options, batch_size=read_batch_size(batch_size, model_flags.device))
    note_dtype(model_flags, console)
    extractor, name = load_extractor(model_flags, offline, chosen, prompt, console)
    settings: dict[str, object] = {
        "model": name,
        "prompt": prompt.text if prompt else "",
        "labels": prompt.labels if prompt else (),
    }
    settings |= {"which": extractor.which, "pool": chosen.pool, "saved": save_dtype}
    settings |= {"asked_size": tuple(extractor.image_size[:2]), "dtype": str(extractor.dtype).split(".")[-1]}
    folder = FeatureFolder(out_dir, settings, save_dtype, overwrite)
    job = FeatureJob(extractor, folder, workers)
    root = common_folder(inputs)
    names = FileNames(root)
    count = (lambda: sum(
        not folder.has(item) for item in name_items(expand(inputs), FileNames(root)))
    ) if is_cheap_to_count(inputs) else None  # fmt: skip
    bar = BatchBar(console, count)
    with folder.held(), bar, stopping(job.stop):
        bar.started(0)
        job.run(name_items(sources, names), bar.add)
    console.warn(*(() if job.stop.is_set() else passed.notes), *names.notes)
    finish(job, bar, console)


def load_extractor(
    model_flags: flags.ModelFlags, offline: bool, options: FeatureOptions, prompt: Prompt | None, console: Console
) -> tuple[Extractor, str]:
    """The extractor of a whole model or of an image backbone, and the model's name. Prints the prompt's notes."""
    from glip_cli.checkpoints.parts import load_backbone_parts
    from glip_cli.detector import Detector
    from glip_cli.inference.feature_extractor import backbone_extractor
    from glip_cli.options import DetectOptions

    report = DownloadBar(console)
    if not model_flags.adapter and (
        alone := load_backbone_parts(model_flags.model, weights=model_flags.weights, offline=offline, report=report)
    ):
        if prompt:
            raise UsageError(f"{alone.name} is an image backbone alone, which reads no text: leave --texts out")
        device_and_dtype = model_flags.device, model_flags.dtype
        return backbone_extractor(alone.backbone, alone.image_size, options, *device_and_dtype), alone.name
    detector = Detector.load(**vars(model_flags), offline=offline, report=report)
    console.warn(*(detector.compile_prompt(prompt, DetectOptions()).notes if prompt else ()))
    return detector.extractor(options, prompt), detector.name


def finish(job: FeatureJob, bar: BatchBar, console: Console) -> None:
    """Say how it went; leave with 130 when stopped, 1 when every image failed, 3 when some did."""
    count = job.made + job.there + job.failed
    before = f", {job.there} of them there already" if job.there else ""
    failed = f", {job.failed} failed" if job.failed else ""
    console.info(f"{counted(count, 'image')}{before}{failed}")
    if job.made:
        each = bar.seconds / job.made
        rate = f"{1 / each:.1f} images/s" if each < 1 else f"{each:.1f} s per image"
        console.info(f"{bar.seconds:.1f} s, {rate}; {byte_size(job.bytes)} written")
    if job.stop.is_set():
        leave_stopped(console)
    console.info(f"saved in {job.folder.path}")
    leave_if_failed(job.failed, count)
