"""The folded forms equal the textbook forms, in values and in gradients, whatever the shapes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from transformers import BertConfig, BertModel

from glip_cli.model import chunked, deform, fusion, swin
from glip_cli.model.bert import Bert
from glip_cli.model.config import ARCHITECTURES, FusionConfig, TextConfig
from glip_cli.model.deform import deform_conv, reinterpret_offsets
from glip_cli.model.dyhead import DynamicConv
from glip_cli.model.fusion import Fusion, OnlineSoftmax
from glip_cli.model.glip import Glip
from glip_cli.model.swin import SwinBlock
from tests.model import textbook

# float64: what is left between two orders of the same operations
EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(autouse=True, params=["whole", "in pieces"], scope="module")
def pieces(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test at once with all rows and with a few at a time."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in pieces":
            patch.setattr(fusion, "CPU_CELLS", 30)
            patch.setattr(deform, "ROWS", 6)
            patch.setattr(swin, "ROWS", 25)
            patch.setattr(chunked.map_chunks, "__kwdefaults__", {"rows": 7})
        yield


quick = settings(max_examples=25, deadline=None)
side = st.integers(1, 9)


def leaf(*shape: int, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape, dtype=torch.float64) * scale).requires_grad_()


def gradients(outputs: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Of a fixed random weighing of all outputs."""
    generator = torch.Generator().manual_seed(7)
    total = sum((o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum() for o in outputs)
    return [torch.zeros_like(i) if g is None else g
            for i, g in zip(inputs, torch.autograd.grad(total, inputs, allow_unused=True), strict=True)]  # fmt: skip


@quick
@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 40), st.integers(1, 12), st.sampled_from([1, 2, 4]))
def test_fusion(seed: int, batch: int, positions: int, tokens: int, heads: int) -> None:
    torch.manual_seed(seed)
    module = Fusion(12, 20, FusionConfig(embed=8 * heads, heads=heads), layers=3).double().eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    v, l = leaf(batch, positions, 12), leaf(batch, tokens, 20)
    mask = torch.arange(tokens).expand(batch, -1) < torch.randint(1, tokens + 1, (batch, 1))
    mine, theirs = module(v, l, mask), textbook.fusion(module, v, l, mask)
    assert_close(mine, theirs, **EXACT)
    leaves = [v, l, *module.parameters()]
    assert_close(gradients(list(mine), leaves), gradients(list(theirs), leaves), **EXACT)


def test_fusion_with_dropout_keeps_the_bias_exact() -> None:
    """With dropout the rows of the attention no longer sum to one, and the folded bias must follow."""
    torch.manual_seed(0)
    module = Fusion(6, 10, FusionConfig(embed=16, heads=2, dropout=0.5), layers=2).double().train()
    torch.nn.init.normal_(module.values_v_proj.bias)
    rows, scores = leaf(1, 7, 6), leaf(1, 7, 2 * 3)
    torch.manual_seed(1)
    pool = OnlineSoftmax.empty(torch.zeros(1, 2 * 3, 6, dtype=torch.float64)).update(scores, rows, module._drop)
    mine = module._to_text(pool, torch.float64)
    torch.manual_seed(1)
    attention = (scores.softmax(1) * module._drop(torch.ones_like(scores))).transpose(1, 2).unflatten(1, (2, 3))
    values = module.values_v_proj(rows).unflatten(-1, (2, 8)).transpose(1, 2)
    assert_close(mine, module.out_l_proj((attention @ values).transpose(1, 2).flatten(2)), **EXACT)


@pytest.mark.parametrize("shift", [0, 2])
@quick
@given(st.integers(0, 99), st.integers(1, 2), st.integers(1, 16), st.integers(1, 16))
def test_window_block(shift: int, seed: int, batch: int, height: int, width: int) -> None:
    """Also on maps smaller than a window; and timm's own block where its other order of work makes no difference."""
    torch.manual_seed(seed)
    module = SwinBlock(8, heads=2, window=5, shifted=shift > 0).double().eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = leaf(batch, height, width, 8)
    mine, expected = module(x), textbook.window_block(module, x)
    assert_close(mine, expected, **EXACT)
    leaves = [x, *module.parameters()]
    assert_close(gradients([mine], leaves), gradients([expected], leaves), **EXACT)
    if height % 5 == width % 5 == 0:
        theirs = textbook.timm_block(module)
        theirs.load_state_dict(module.state_dict())
        assert_close(mine, theirs(x), **EXACT)


@pytest.fixture(scope="module")
def berts() -> tuple[Bert, BertModel]:
    """Two layers of ours and of transformers', with the same weights, dropout included."""
    torch.manual_seed(0)
    ours = Bert(TextConfig(vocab_size=40, hidden=24, layers=2, heads=3, intermediate=50, positions=20)).double()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    sizes = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
             "intermediate_size": 50, "max_position_embeddings": 20}  # fmt: skip
    theirs = BertModel(BertConfig(**sizes, attn_implementation="sdpa"), add_pooling_layer=False).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("training", [False, True])
@quick
@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 20))
def test_bert_is_that_of_transformers(
    berts: tuple[Bert, BertModel], training: bool, seed: int, batch: int, tokens: int
) -> None:
    torch.manual_seed(seed)
    ids = torch.randint(40, (batch, tokens))
    mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (batch, 1))
    outputs, slopes = [], []
    for model in berts:
        model.train(training)
        torch.manual_seed(seed)
        hidden = model(ids, mask) if isinstance(model, Bert) else model(ids, mask.long()).last_hidden_state
        outputs.append(hidden[mask])
        slopes.append(gradients([outputs[-1]], [p for _, p in sorted(model.named_parameters())]))
    assert_close(*outputs, **EXACT)
    assert_close(*slopes, **EXACT)


def test_the_whole_network() -> None:
    """glip-mini's shape, two images, the text padded to the window as the reference pads it."""
    torch.manual_seed(0)
    model = Glip(ARCHITECTURES["glip-mini"]).double().eval()
    pixels, ids = torch.randn(2, 3, 96, 160, dtype=torch.float64), torch.randint(5, 250, (2, 256))
    mask = torch.arange(256).expand(2, -1) < torch.tensor([[9], [16]])
    expected = textbook.network(model, pixels, ids, mask)
    mine = model(pixels, ids[:, :16], mask[:, :16])
    assert_close(mine.logits[0, :, :9], expected.logits[0, :, :9], **EXACT)
    assert_close(mine.logits[1], expected.logits[1, :, :16], **EXACT)
    assert_close((mine.deltas, mine.centerness), (expected.deltas, expected.centerness), **EXACT)


@pytest.mark.parametrize("stride", [1, 2])
@quick
@given(st.integers(0, 99), st.integers(1, 2), side, side, st.sampled_from([0.0, 1.0, 30.0]))
def test_deform_conv(stride: int, seed: int, batch: int, height: int, width: int, reach: float) -> None:
    """Also where every sample lies outside of the map, and on maps of one pixel."""
    torch.manual_seed(seed)
    h, w = -(-height // stride), -(-width // stride)
    x, weight, bias = leaf(batch, 5, height, width), leaf(7, 5, 3, 3), leaf(7)
    offset, mask = leaf(batch, 18, h, w, scale=reach), leaf(batch, 9, h, w)
    leaves = [x, offset, mask, weight, bias]
    mine = deform_conv(*leaves, stride=stride)
    theirs = textbook.deform_conv(*leaves, stride=stride)
    assert_close(mine, theirs, **EXACT)
    if reach == 1.0:  # at integer sampling points the derivative is not defined
        assert_close(gradients([mine], leaves), gradients([theirs], leaves), **EXACT)


@pytest.mark.parametrize("trained", [0, 1, 2, 3, 4])
def test_deform_conv_where_one_thing_trains(trained: int) -> None:
    torch.manual_seed(0)
    shapes = ((2, 5, 7, 6), (2, 18, 7, 6), (2, 9, 7, 6), (7, 5, 3, 3), (7,))
    given = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    one = given[trained].requires_grad_()
    assert_close(gradients([deform_conv(*given)], [one]), gradients([textbook.deform_conv(*given)], [one]), **EXACT)


@quick
@given(st.integers(0, 99), st.integers(1, 2), st.integers(3, 20), st.integers(3, 20))
def test_dynamic_conv(seed: int, batch: int, height: int, width: int) -> None:
    """All three branches, the re-read of the offsets and the upsampling, on odd pyramids."""
    torch.manual_seed(seed)
    module = DynamicConv(32).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    sizes = [(height, width)]
    for _ in range(4):
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    maps = [leaf(batch, 32, *size) for size in sizes]
    assert_close(module(maps), textbook.dynamic_conv(module, maps), **EXACT)


def test_reread_is_of_memory_and_neither_a_crop_nor_a_resize() -> None:
    offset, mask = torch.arange(18.0 * 6).view(1, 18, 2, 3), torch.arange(9.0 * 6).view(1, 9, 2, 3)
    small_offset, small_mask = reinterpret_offsets(offset, mask, (1, 2))
    assert small_offset.flatten().tolist() == list(range(36))
    assert small_mask.flatten().tolist() == list(range(18))
