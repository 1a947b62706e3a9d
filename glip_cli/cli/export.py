"""`glip export`: a model as one file: ONNX, which onnxruntime has run before it is called done, or weights."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.cli import flags
from glip_cli.cli.command import command
from glip_cli.cli.console import Console, DownloadBar, print_json
from glip_cli.errors import UsageError
from glip_cli.utils.option import OUTPUT, WHAT, option
from glip_cli.utils.text_format import counted

if TYPE_CHECKING:
    from glip_cli.onnx_export.export import Exported

EPILOG = "Example: glip export -m glip-t -o glip-t.onnx --texts 'cat . remote .'"


@command
def export(
    *,
    texts: list[str] | None = option(
        None, "Fix this prompt in the file (default: any prompt at run time).", WHAT, "LABELS", flags=("--texts", "-t")
    ),
    source: flags.ModelSourceFlags,
    out: Path | None = option(
        None, "Output file: .onnx, or .safetensors (default: MODEL.onnx).", OUTPUT, "FILE", flags=("--out", "-o")
    ),
    opset: int = option(20, "Version of ONNX's operators, 19 .. 22.", OUTPUT, "N", show_default=True),
    json: bool = option(False, "Print what was written as JSON.", OUTPUT),
    common: flags.CommonFlags,
) -> None:
    """Write a model as one file: ONNX, or safetensors."""
    console = Console(common.quiet)
    if out is not None and out.suffix == ".safetensors":
        if texts or source.bert:
            raise UsageError(
                f"{out} holds weights alone: --{'texts' if texts else 'bert'} is for a file .onnx; leave it out"
            )
        return export_weights(source, out, json, console, common.offline)
    from glip_cli.prompts.prompt import texts_prompt

    prompt = texts_prompt(texts) if texts else None

    from glip_cli.onnx_export.export import export as write

    done = write(
        **vars(source), out=out, labels=prompt, opset=opset, offline=common.offline,
        report=DownloadBar(console), say=console.info,
    )  # fmt: skip
    if json:
        print_json(as_dict(done))
    else:
        print(done.path)
    for line in summary(done):
        console.info(line)


def export_weights(source: flags.ModelSourceFlags, out: Path, json: bool, console: Console, offline: bool) -> None:
    """A network with its adapters as a native file, for --model on any machine."""
    from glip_cli.checkpoints.parts import save_model

    save_model(out, source.model, source.weights, source.adapter, offline=offline, report=DownloadBar(console))
    size = out.stat().st_size
    if json:
        print_json({"file": str(out), "bytes": size})
    else:
        print(out)
    console.info(f"{size / 1e6:,.1f} MB; to use it: glip detect photo.jpg --model {shlex.quote(str(out))}")


def summary(done: Exported) -> list[str]:
    """The lines about what was exported."""
    checked = done.checked
    differences = ", ".join(f"{name} {value:.1e}" for name, value in checked.difference.items())
    height, width = checked.pixels
    faster = checked.torch_seconds / checked.onnx_seconds
    return [
        f"{done.bytes / 1e6:,.1f} MB; takes {'pixels' if done.metadata.fixed else 'pixels, ids and mask'}",
        f"largest differences from torch: {differences}; "
        f"{counted(checked.detections, 'detection agrees', 'detections agree')}",
        f"{height} x {width} pixels: torch {checked.torch_seconds:.3f} s, "
        f"onnxruntime {checked.onnx_seconds:.3f} s ({faster:.2f} times as fast)",
    ]


def as_dict(done: Exported) -> dict[str, object]:
    checked = done.checked
    return {
        "file": str(done.path),
        "bytes": done.bytes,
        "model": done.metadata.name,
        "labels": list(done.metadata.fixed.labels) if done.metadata.fixed else None,
        "difference": checked.difference,
        "detections": checked.detections,
        "pixels": list(checked.pixels),
        "torch_seconds": checked.torch_seconds,
        "onnx_seconds": checked.onnx_seconds,
    }
