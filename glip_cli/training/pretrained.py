"""ImageNet's Swin and bert-base-uncased, from which the published models began, as tensors of a `Glip`.

timm and transformers fetch them, from huggingface.co.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from glip_cli.checkpoints.formats import BACKBONE
from glip_cli.errors import FetchError, UsageError

SWINS = {
    "glip-t": "swin_tiny_patch4_window7_224.ms_in1k",
    "glip-t-a": "swin_tiny_patch4_window7_224.ms_in1k",
    "glip-l": "swin_large_patch4_window12_384.ms_in22k",
}
"""timm's names of the image backbones, by architecture."""
BERT = "google-bert/bert-base-uncased"
TEXT = "text.bert."


def load_pretrained(architecture: str, offline: bool = False) -> dict[str, Tensor]:
    """Name -> tensor of the backbone, but for its output norms, and of BERT. Raises UsageError or FetchError."""
    if architecture not in SWINS:
        raise UsageError(f"--init pretrained: there are weights for {', '.join(SWINS)}, and none for {architecture}")
    try:
        swin, bert = _fetch(SWINS[architecture], offline)
    except (OSError, RuntimeError, ValueError) as error:  # of two libraries and their client
        reason = str(error).strip().partition("\n")[0]
        way = "once without --offline" if offline else "with --init random, or try again"
        raise FetchError(
            f"--init pretrained: {SWINS[architecture]} or {BERT} cannot be had ({reason}); {way}"
        ) from error
    return swin_state(swin) | bert_state(bert)


def _fetch(swin: str, offline: bool) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when timm imports the client
    import timm
    from transformers import BertModel

    given: Any = {"add_pooling_layer": False, "local_files_only": offline}
    return timm.create_model(swin, pretrained=True).state_dict(), BertModel.from_pretrained(BERT, **given).state_dict()


def swin_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Timm's Swin -> tensors of a `Glip`. GLIP reads BGR where timm reads RGB; pixels are normalised alike."""
    kept = {key: tensor for key, tensor in state.items() if key.startswith(("patch_embed.", "layers."))}
    kept["patch_embed.proj.weight"] = kept["patch_embed.proj.weight"].flip(1)
    return {BACKBONE + key: tensor for key, tensor in kept.items() if "relative_position_index" not in key}


def bert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Transformers' BertModel -> tensors of a `Glip`; the layers between rounds of fusion stay random."""
    return {TEXT + key: tensor for key, tensor in state.items() if key.startswith(("embeddings.", "encoder."))
            and not key.endswith(("position_ids", "token_type_ids"))}  # fmt: skip
