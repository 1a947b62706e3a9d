"""Deterministic weights and the synthetic image.  numpy only; keys are mmdet's names.

Provenance: the recipe that the goldens in tests/golden were recorded with (mmdetection 3.3.0 on a CPU, float32, these
weights instead of the released ones).

Every floating tensor is  mean + scale * RandomState(crc32(key)).standard_normal(shape), with
(mean, scale) chosen from the key and the shape by `rule`.  The legacy RandomState stream is frozen
by numpy's compatibility policy, so the numbers are the same everywhere.
"""

import zlib

import numpy as np
import numpy.typing as npt


def rule(key, shape):
    """(mean, scale) of the normal distribution that fills `key`."""
    last = key.rsplit(".", 1)[-1]
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    if last == "log_scale":  # mmdet init 0
        return 0.0, 0.1
    if last == "bias0":  # mmdet init -log(99) = -4.595
        return -4.0, 0.1
    if last == "bias_lang":  # mmdet init 0
        return 0.0, 0.5
    if last == "scale":  # Scale(1.0), one per level
        return 1.0, 0.1
    if last in ("gamma_v", "gamma_l"):  # mmdet init 1/6
        return 0.1, 0.01
    if last == "relative_position_bias_table":
        return 0.0, 0.2
    if "_embeddings." in key:  # BERT: the word should outweigh the rest
        return 0.0, 0.05 if "word_" in key else 0.02
    if last == "weight" and ".bn." in key:  # DyConv's GroupNorm: keeps the DyHead at RMS ~ 1
        return GN_GAIN, 0.1 * GN_GAIN
    if len(shape) == 1:
        return (1.0, 0.1) if last == "weight" else (0.0, 0.02)
    if ".offset." in key:  # DCN offsets and masks
        return 0.0, OFFSET_GAIN / np.sqrt(fan_in)
    if "dot_product_projection_text" in key:
        return 0.0, TEXT_GAIN / np.sqrt(fan_in)
    if ".centerness." in key:  # keeps sqrt(score * centerness) off the floor
        return 0.0, 0.5 / np.sqrt(fan_in)
    if ".output.dense." in key:  # BERT residual branches: tokens stay distinct
        return 0.0, BERT_GAIN / np.sqrt(fan_in)
    return 0.0, 1.0 / np.sqrt(fan_in)


GN_GAIN = 3.0
BERT_GAIN = 0.3
OFFSET_GAIN = 0.5
TEXT_GAIN = 8.0


def array(key, shape):
    mean, scale = rule(key, tuple(shape))
    n = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(shape))
    return (np.float32(mean) + np.float32(scale) * n.astype(np.float32)).astype(np.float32)


def fill(state_dict):
    """New dict: floating tensors replaced (same type as given: torch or numpy), others as they are."""
    out = {}
    for key, t in state_dict.items():
        if "float" in str(t.dtype):
            a = array(key, t.shape)
            t = a if isinstance(t, np.ndarray) else t.new_tensor(a)
        out[key] = t
    return out


def synthetic(h: int = 240, w: int = 320) -> npt.NDArray[np.uint8]:
    """uint8 RGB image: gradients, rectangles, disks (integer arithmetic only)."""
    y, x = np.mgrid[0:h, 0:w]
    img = np.stack([x * 255 // (w - 1), y * 255 // (h - 1), (x + y) * 255 // (h + w - 2)], -1)
    for x0, y0, x1, y1, c in (
        (20, 30, 110, 90, (220, 40, 40)),
        (200, 20, 300, 70, (30, 60, 230)),
        (130, 110, 180, 220, (250, 240, 60)),
        (240, 150, 310, 230, (10, 10, 10)),
    ):
        img[y0:y1, x0:x1] = c
    for cx, cy, r, c in ((70, 160, 45, (40, 200, 90)), (230, 110, 28, (255, 255, 255)), (155, 60, 22, (180, 60, 200))):
        img[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = c
    img[::16, 160:] = img[::16, 160:] // 2  # fine stripes: aliasing shows in the resize
    return img.astype(np.uint8)
