"""Modulated deformable 3x3 convolution (DCNv2, arXiv 1811.11168) as weighted row sums and a matrix product.

A tap reads its four cells, a row of channels each, and sums them weighted; `F.embedding_bag` does that for all taps in
one call. The nine sums of a position, side by side, are then one row of a matrix product. Positions are taken some at a
time, so that these rows, nine times the map, never leave a processor's cache; the gradient makes them again, since
memory for all of them costs as much time. On CUDA, torchvision's kernel does the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from glip_cli.model.chunked import ROWS, map_chunks
from glip_cli.model.onednn_linear import AutogradContext, lay_by_terms, linear, linear_gradients, onednn_is_better
from glip_cli.model.torchvision_ops import load_operators

TAPS = 9


def reinterpret_offsets(offset: Tensor, mask: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Read the memory of larger maps as if they had the given (h, w), image by image.

    Quirk that the released weights depend on: the level above is sampled with this level's offsets, and the original
    kernel strides their memory by the *output's* size without a check (atss_vlfusion_head.py of mmdet).
    """
    h, w = size
    offset = offset.flatten(1)[:, : 2 * TAPS * h * w].unflatten(1, (2 * TAPS, h, w))
    mask = mask.flatten(1)[:, : TAPS * h * w].unflatten(1, (TAPS, h, w))
    return offset, mask


def deform_conv(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    """Deformable convolution, padding 1, zero outside of the image.

    Args:
        x: [B, C, H, W]; fastest in channels_last memory.
        offset: [B, 18, h, w], (dy, dx) per tap in pixels of `x`, taps row by row.
        mask: [B, 9, h, w], a factor per tap.
        weight: [O, C, 3, 3].
        bias: [O].
        stride: of the output grid in pixels of `x`.

    Returns:
        [B, O, h, w] in channels_last memory.
    """
    if torch.compiler.is_exporting():
        return by_onnx(x, offset, mask, weight, bias, stride)
    if x.is_cuda:
        return by_torchvision(x, offset, mask, weight, bias, stride)
    batch, channels, height, width = x.shape
    h, w = offset.shape[2:]
    cells, factors = bilinear_indices(offset, mask, (height, width), stride)
    image = torch.arange(batch, device=x.device, dtype=cells.dtype).view(batch, 1, 1, 1) * (height * width)
    rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
    taps = weight.permute(0, 2, 3, 1).flatten(1)

    # autocast would have other number formats in the two passes
    trains = torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)
    sampled_linear = _SampledLinear.apply if trains else _sampled_linear
    out: Tensor = sampled_linear(rows, (cells + image).flatten(0, 1), factors.flatten(0, 1).to(rows.dtype), taps, bias)
    return out.view(batch, h, w, -1).permute(0, 3, 1, 2)


def by_torchvision(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    """The same by torchvision's kernel, at least in float32: it has no bfloat16, and would lose digits in float16."""
    precise = torch.promote_types(x.dtype, torch.float32)
    x_, offset, mask, weight, bias = (tensor.to(precise) for tensor in (x, offset, mask, weight, bias))
    if not torch.compiler.is_compiling():  # a compiled network has loaded them (`Compiled`)
        load_operators(differentiable=torch.is_grad_enabled())
    one = (1, 1)  # padding, dilation, and groups of weights and offsets
    sizes = (stride, stride, *one, *one, *one)
    out: Tensor = torch.ops.torchvision.deform_conv2d(x_, weight, offset, mask, bias, *sizes, True)
    return out.to(x.dtype)


def by_onnx(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    """The same as an operator of ONNX, which has it since opset 19; for `torch.onnx.export` alone.

    In onnxruntime 1.31 on a CPU it takes two thirds of the time of the fastest gathered form (docs/export.md).
    """
    out: Tensor = torch.onnx.ops.symbolic(
        "DeformConv",
        (x, weight, offset, bias, mask),
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [stride, stride]},
        dtype=x.dtype,
        shape=(x.shape[0], weight.shape[0], *offset.shape[2:]),
    )
    return out


def bilinear_indices(offset: Tensor, mask: Tensor, size: tuple[int, int], stride: int) -> tuple[Tensor, Tensor]:
    """The four cells around the sampling point of each tap, and their bilinear factors.

    Returns:
        Cell numbers y * W + x, int32 [B, h*w, 9, 4], clamped into the map; and factors of the same shape, mask
        included, 0 for cells outside of the map.
    """
    height, width = size
    batch, _, h, w = offset.shape
    # bfloat16 could not name a pixel beyond 256
    precise = torch.promote_types(offset.dtype, torch.float32)
    dy, dx = offset.to(precise).reshape(batch, TAPS, 2, h * w).permute(2, 0, 3, 1).contiguous()
    mask = mask.to(precise).reshape(batch, TAPS, h * w).transpose(1, 2).contiguous()
    tap, cell = torch.arange(TAPS, device=offset.device), torch.arange(h * w, device=offset.device).unsqueeze(1)
    regular_y = (cell // w * stride).to(precise) + (tap // 3 - 1).to(precise)
    regular_x = (cell % w * stride).to(precise) + (tap % 3 - 1).to(precise)
    top, bottom, of_top, of_bottom = _edges(dy + regular_y, height)
    left, right, of_left, of_right = _edges(dx + regular_x, width)
    top, bottom = top * width, bottom * width
    of_top, of_bottom = of_top * mask, of_bottom * mask
    cells = torch.stack((top + left, top + right, bottom + left, bottom + right), dim=-1)
    factors = (of_top * of_left, of_top * of_right, of_bottom * of_left, of_bottom * of_right)
    return cells, torch.stack(factors, dim=-1)


def _edges(coordinate: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two cells beside a coordinate, clamped into the map, and their factors."""
    low = coordinate.detach().floor()
    high, fraction = low + 1, coordinate - low
    of_low = (1 - fraction) * ((low >= 0) & (low < size))
    of_high = fraction * ((high >= 0) & (high < size))
    # the cell of a NaN may be any: its factor is NaN and carries it to the loss
    low, high = (cell.clamp(0, size - 1).nan_to_num(0).int() for cell in (low, high))
    return low, high, of_low, of_high


def _sampled_linear(rows: Tensor, cells: Tensor, factors: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    """Rows [R, C], cells and their factors [P, 9, 4], taps [O, 9 C], bias [O] -> [P, O]."""

    def project(cells: Tensor, factors: Tensor) -> Tensor:
        return linear(_sum_rows(rows, cells, factors), taps, bias)

    if len(cells) > ROWS // 2 and onednn_is_better():
        taps = lay_by_terms(taps)  # once for all pieces
    return map_chunks(project, cells, factors, rows=ROWS // 2)


class _SampledLinear(torch.autograd.Function):
    """`_sampled_linear` with its gradient."""

    @staticmethod
    def forward(
        ctx: AutogradContext, rows: Tensor, cells: Tensor, factors: Tensor, taps: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(rows, cells, factors, taps)
        return _sampled_linear(rows, cells, factors, taps, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, towards: Tensor) -> tuple[Tensor | None, ...]:
        rows, cells, factors, taps = ctx.saved_tensors
        to_rows, to_factors, to_taps = torch.zeros_like(rows), torch.empty_like(factors), torch.zeros_like(taps)
        needs_grad = ctx.needs_input_grad
        pieces = (tensor.split(ROWS // 2) for tensor in (towards.contiguous(), cells, factors, to_factors))
        for towards_sums, index, factor, to_factor in zip(*pieces, strict=True):
            with torch.enable_grad():  # detached: the slow gradient of rows would be made too
                sums = _sum_rows(rows.detach(), index, factor.requires_grad_())
            to_sums, more_to_taps = linear_gradients(towards_sums, sums.detach(), taps, (True, needs_grad[3]))
            assert to_sums is not None
            to_factor.copy_(torch.autograd.grad(sums, factor, to_sums)[0])
            if needs_grad[0]:
                _add_to_rows(to_rows, index.flatten(), factor.detach().flatten(), to_sums)
            if more_to_taps is not None:
                to_taps += more_to_taps
        return (
            to_rows if needs_grad[0] else None, None, to_factors, to_taps if needs_grad[3] else None,
            towards.sum(0) if needs_grad[4] else None,
        )  # fmt: skip


def _sum_rows(table: Tensor, cells: Tensor, factors: Tensor) -> Tensor:
    """Weighted sums of four rows of a table, nine side by side: [R, C], [P, 9, 4], [P, 9, 4] -> [P, 9 C]."""
    sums = F.embedding_bag(cells.flatten(0, 1), table, per_sample_weights=factors.flatten(0, 1), mode="sum")
    return sums.view(len(cells), -1)


def _add_to_rows(to_rows: Tensor, cells: Tensor, factors: Tensor, to_sums: Tensor) -> None:
    """The gradient of a table, in place: row c gets each sum's gradient that read it, times the factor.

    Args:
        to_rows: [R, C].
        cells, factors: [36 P], four for each sum.
        to_sums: [P, 9 C].

    These are weighted sums of rows again, of as many as read each cell: `F.embedding_bag` takes a fifth of the time of
    its own gradient, and adds up in the same order.
    """
    cells, order = cells.sort(stable=True)
    first, last = int(cells[0]), int(cells[-1]) + 1
    begins = torch.searchsorted(cells, torch.arange(first, last, dtype=cells.dtype))
    to_each_sum = to_sums.view(-1, to_rows.shape[1])
    to_rows[first:last] += F.embedding_bag(
        order // 4, to_each_sum, begins, per_sample_weights=factors[order], mode="sum"
    )
