"""mmdetection's own GLIP, for an interpreter that has it.

`PYTHON -m benchmarks.mmdetection FOLDER LETTER SHORT LONG TEXT`, where FOLDER holds image.png, checkpoint.pth in
mmdetection's names, and bert/vocab.txt. On standard output stands a line of JSON when the first image is done,
{"peak_mb", "versions", "labels", "scores", "boxes"}; then, for each line on standard input, the seconds of another run.

An environment MM for it:

    MM/bin/pip install torch==2.1.2 torchvision==0.16.2 transformers==4.38.2 "numpy<2" "setuptools<70" wheel ninja
    MM/bin/pip install mmengine mmdet==3.3.0 nltk "opencv-python-headless<4.11" && MM/bin/pip install "numpy<2"
    MM/bin/pip download --no-deps --no-build-isolation --no-binary mmcv mmcv==2.1.0   # unpack it, and in it:
    MMCV_WITH_OPS=1 MM/bin/python setup.py build_ext --inplace   # then copy mmcv/ into its site-packages
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

from benchmarks.resident import peak

CONFIGS = {
    "a": "glip_atss_swin-t_a_fpn_dyhead_pretrain_obj365.py",
    "b": "glip_atss_swin-t_b_fpn_dyhead_pretrain_obj365.py",
    "l": "glip_atss_swin-l_fpn_dyhead_pretrain_mixeddata.py",
}


def main(folder: Path, letter: str, size: tuple[int, int], text: str, answers: IO[str]) -> None:
    import cv2
    import mmcv
    import mmdet
    import torch
    import transformers
    from mmdet.apis import inference_detector

    model = load(folder, letter, size)
    image = cv2.imread(str(folder / "image.png"))

    def run() -> Any:
        return inference_detector(model, image, text_prompt=text, custom_entities=True).pred_instances

    found = []
    first: dict[str, object] = {"peak_mb": peak(lambda: found.append(run()))}
    first |= {name: getattr(found[0], kind).tolist() for name, kind in
              (("labels", "labels"), ("scores", "scores"), ("boxes", "bboxes"))}  # fmt: skip
    parts = {"mmdetection": mmdet, "mmcv": mmcv, "torch": torch, "transformers": transformers}
    first["versions"] = {name: part.__version__ for name, part in parts.items()}
    print(json.dumps(first), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        run()
        print(time.perf_counter() - started, file=answers, flush=True)


def load(folder: Path, letter: str, size: tuple[int, int]) -> Any:
    """The published configuration, with the checkpoint of the folder."""
    import mmdet
    from mmdet.apis import init_detector
    from mmengine.config import Config
    from transformers import BertConfig, BertModel

    bert = folder / "bert"
    BertModel(BertConfig()).save_pretrained(bert)  # random weights, which those of the checkpoint replace
    config = Config.fromfile(Path(mmdet.__file__).parent / ".mim" / "configs" / "glip" / CONFIGS[letter])
    config.model.backbone.init_cfg = None
    config.model.language_model.name = config.model.bbox_head.lang_model_name = str(bert)
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == "FixScaleResize":
            step.scale = size
    return init_detector(config, str(folder / "checkpoint.pth"), device="cpu")


if __name__ == "__main__":
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries print is no answer
    place, variant, short, long, names = sys.argv[1:]
    main(Path(place), variant, (int(short), int(long)), names, lines)
