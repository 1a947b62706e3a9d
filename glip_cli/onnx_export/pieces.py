"""The network in pieces, each with examples of what it takes and the sizes that may change.

In pieces because the exporter reasons about every size by algebra: of the whole network at once the sizes of the last
maps are fractions of fractions, and that takes minutes (glip-mini) to hours. A piece has free sizes. The
tensors between pieces have names, and `glip_cli.onnx_export.session` splits the file there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.export import Dim

from glip_cli.model.bert import pad_offset
from glip_cli.model.config import STRIDES, Config, GlipConfig, NanoConfig, SwinConfig
from glip_cli.model.glip import Glip
from glip_cli.model.head import FusionLayer
from glip_cli.model.swin import PATCH, Backbone, Stage

LEVELS = tuple(range(3, 3 + len(STRIDES)))
OUTPUTS = ("logits", "deltas", "centerness")
CELLS = (5, 6)  # of the example's C5: rows, columns. Different, and none of a later map is 1, which exporters fix
BATCH, TOKENS = Dim("batch"), Dim("tokens")
DOWN, ACROSS = Dim("down"), Dim("across")  # rows and columns of C5
TEXT = {0: BATCH, 1: TOKENS}


@dataclass(frozen=True)
class Piece:
    """
    Attributes:
        run: tensors in, tensors out.
        takes, gives: names of the inputs and outputs.
        examples: one tensor per name of `takes`.
        dims: for each of them the axes whose size may change.
    """

    run: nn.Module
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    examples: tuple[Tensor, ...]
    dims: tuple[dict[int, Dim], ...]


@dataclass(frozen=True)
class FixedText:
    """A prompt whose features are part of the file: hidden [1, T, L]."""

    hidden: Tensor


class Step(nn.Module):
    """A function of some modules as a module."""

    def __init__(self, function: Callable[..., Tensor | tuple[Tensor, ...]], *modules: nn.Module):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(modules)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(*inputs)


def level_names(layers: int, levels: int = len(STRIDES)) -> tuple[str, ...]:
    """P3 .. P7, or as many levels as there are, after some layers of the head."""
    return tuple(f"p{level}.{layers}" for level in LEVELS[:levels])


def map_names(config: Config) -> tuple[str, ...]:
    """The outputs of `Glip.encode_image`: without fusion it includes the layers of the head."""
    return level_names(0 if config.fusion else config.head_layers, len(config.strides))


def output_names(config: Config) -> tuple[str, ...]:
    """The names of `RawOutput.tensors`."""
    return OUTPUTS[:2] if isinstance(config, NanoConfig) else OUTPUTS


def pieces(model: Glip, text: FixedText | None = None) -> Iterator[Piece]:
    """The whole network, in order; with `text` the prompt is a constant."""
    if isinstance(model.config, NanoConfig):
        yield from nano_pieces(model, text)
        return
    yield from backbone_pieces(model)
    yield pyramid_piece(model)
    yield text_piece(model) if text is None else fixed_piece(model, text)
    yield from (layer_piece(model, number) for number in range(len(model.head.tower)))
    yield predict_piece(model)


def nano_pieces(model: Glip, text: FixedText | None = None) -> Iterator[Piece]:
    """glip-nano: the image side, the text side, and the products of both."""
    maps = map_names(model.config)
    encode = Step(lambda pixels: tuple(model.encode_image(pixels)), model.backbone, model.fpn, model.head)
    yield Piece(encode, ("pixels",), maps, (_example(3, 32),), ({0: BATCH, 2: 32 * DOWN, 3: 32 * ACROSS},))
    yield text_piece(model) if text is None else fixed_piece(model, text)
    levels, dims = _levels(model.config)
    hidden = torch.randn(2, _mask().shape[1], model.config.text.hidden)
    predict = Step(partial(_predict, model), model.head)
    yield Piece(predict, (*maps, "hidden.0"), output_names(model.config), (*levels, hidden), (*dims, TEXT))


def backbone_pieces(model: Glip) -> Iterator[Piece]:
    """Stage by stage; the first takes pixels."""
    backbone, dim = model.backbone, _swin(model).embed_dim
    assert isinstance(backbone, Backbone)
    for number, layer in enumerate(backbone.layers):
        assert isinstance(layer, Stage)
        if number == 0:
            first = Step(partial(_first_stage, backbone.patch_embed, layer), backbone.patch_embed, layer)
            yield Piece(first, ("pixels",), ("x0",), (_example(3, 32),), ({0: BATCH, 2: 32 * DOWN, 3: 32 * ACROSS},))
            continue
        norm, cells = backbone.norms[number - 1], 32 // PATCH // 2 ** (number - 1)  # cells: of x along one of C5
        stage = Step(partial(_stage, layer, norm), layer, norm)
        example = _example(dim * 2 ** (number - 1), cells).permute(0, 2, 3, 1)
        dims = {0: BATCH, 1: cells * DOWN, 2: cells * ACROSS}
        yield Piece(stage, (f"x{number - 1}",), (f"x{number}", f"c{number + 2}"), (example,), (dims,))


def pyramid_piece(model: Glip) -> Piece:
    cells = (4, 2, 1)
    examples = tuple(_example(_swin(model).embed_dim * 2**i, n) for i, n in enumerate(cells, 1))
    dims = tuple({0: BATCH, 2: n * DOWN, 3: n * ACROSS} for n in cells)
    run = Step(lambda *maps: tuple(model.fpn(list(maps))), model.fpn)
    return Piece(run, ("c3", "c4", "c5"), level_names(0), examples, dims)


def text_piece(model: Glip) -> Piece:
    mask = _mask()
    text = model.text
    if text.offset is not None:  # a row for every token that a text may have, which changes no answer
        text.offset = nn.Parameter(pad_offset(text.offset.detach(), model.config.text.window))
    run = Step(text, text)
    return Piece(run, ("ids", "mask"), ("hidden.0",), (torch.ones_like(mask, dtype=torch.long), mask), (TEXT, TEXT))


def fixed_piece(model: Glip, text: FixedText) -> Piece:
    """The text as a constant; reads only the number of images of pixels."""
    dims = {0: BATCH, 2: 32 * DOWN, 3: 32 * ACROSS}
    run = Step(lambda pixels: _repeated(text.hidden, pixels.shape[0]))
    run.register_buffer("hidden", text.hidden)
    return Piece(run, ("pixels",), ("hidden.0", "mask"), (_example(3, 32),), (dims,))


def layer_piece(model: Glip, number: int) -> Piece:
    """One layer of the head. Without fusion it reads no text."""
    layer, config = model.head.tower[number], model.config
    assert isinstance(layer, FusionLayer)
    maps, dims = _levels(config)
    before, after = level_names(number), level_names(number + 1)
    if layer.fusion is None:
        return Piece(Step(lambda *maps: tuple(layer.conv(list(maps))), layer.conv), before, after, maps, dims)
    run = Step(partial(_fusion_layer, layer), layer)
    hidden = torch.randn(2, _mask().shape[1], config.text.hidden)
    takes, gives = (*before, f"hidden.{number}", "mask"), (*after, f"hidden.{number + 1}")
    return Piece(run, takes, gives, (*maps, hidden, _mask()), (*dims, TEXT, TEXT))


def predict_piece(model: Glip) -> Piece:
    maps, dims = _levels(model.config)
    layers = len(model.head.tower)
    hidden = torch.randn(2, _mask().shape[1], model.config.text.hidden)
    takes = (*level_names(layers), f"hidden.{layers if model.config.fusion else 0}")
    run = Step(partial(_predict, model), model.head)
    return Piece(run, takes, output_names(model.config), (*maps, hidden), (*dims, TEXT))


def _first_stage(embed: nn.Module, stage: nn.Module, pixels: Tensor) -> Tensor:
    return stage(embed(pixels))


def _stage(stage: nn.Module, norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = stage(x)
    return x, norm(x).permute(0, 3, 1, 2)


def _fusion_layer(layer: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    *maps, hidden, mask = inputs
    maps, hidden = layer(maps, hidden, mask)
    return *maps, hidden


def _predict(model: Glip, *inputs: Tensor) -> tuple[Tensor, ...]:
    return model.head.predict(list(inputs[:-1]), inputs[-1]).tensors


def _swin(model: Glip) -> SwinConfig:
    assert isinstance(model.config, GlipConfig)
    return model.config.swin


def _repeated(hidden: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """For each image; `batch` is a size that the exporter traces, which `len` would fix."""
    mask = torch.ones(hidden.shape[:2], dtype=torch.bool)
    return hidden.repeat(batch, 1, 1), mask.repeat(batch, 1)


def _example(channels: int, cells: int) -> Tensor:
    """A map [2, channels, h, w] with so many cells along one of C5."""
    return torch.randn(2, channels, CELLS[0] * cells, CELLS[1] * cells)


def _levels(config: Config) -> tuple[tuple[Tensor, ...], tuple[dict[int, Dim], ...]]:
    """Examples of P3 .. P7, or as many levels as there are, and dims of which none depends on another."""
    sizes = [(CELLS[0] * cells, CELLS[1] * cells) for cells in (4, 2, 1)]
    while len(sizes) < len(config.strides):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    maps = tuple(torch.randn(2, config.channels, *size) for size in sizes)
    return maps, tuple({0: BATCH, 2: Dim(f"h{level}"), 3: Dim(f"w{level}")} for level in LEVELS[: len(sizes)])


def _mask() -> Tensor:
    mask = torch.ones(2, 16, dtype=torch.bool)
    mask[:, 13:] = False
    return mask
