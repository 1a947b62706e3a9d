"""What the search begins with: for each harness whole inputs, and the words that its language is made of."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable

import pyarrow
from pyarrow import parquet

from tests.data.clips import draw, make_clip
from tests.fuzz.harnesses import BETWEEN, file
from tests.hardening import robustness


def _joined(*texts: str) -> bytes:
    return BETWEEN.join(text.encode() for text in texts)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in {"x/1.png": robustness.IMAGES["PNG"], "x/1.txt": b"a cat\n", "2.jpg": b"?"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _pages(kind: str) -> bytes:
    first, *more = (draw(number, (24, 44)) for number in range(3))
    first.save(stream := io.BytesIO(), kind, save_all=True, append_images=more)
    return stream.getvalue()


def _clip(kind: str) -> bytes:
    return make_clip(file(f"seed.{kind}", b""), 3, "mpeg4", form=kind).read_bytes()


def _parquet() -> bytes:
    stream = io.BytesIO()
    image = {"bytes": robustness.IMAGES["PNG"], "path": "a.png"}
    table = pyarrow.table({"image": [image, None, {"bytes": None, "path": "b.png"}], "label": [1, 2, 3]})
    parquet.write_table(table, stream, row_group_size=2)
    return stream.getvalue()


def _list() -> bytes:
    """A list, with an image that it names beside it."""
    file("lists/0.png", robustness.IMAGES["PNG"])
    file("lists/a b/é.jpg", robustness.IMAGES["JPEG"])
    return "# mine\n0.png\na b\\é.jpg\nnone.png\n\nhttps://example.org/x.png\nftp://x/y.png\n".encode()


def _truth() -> bytes:
    """Annotations, with the images that they name beside them."""
    for number in (1, 2):
        file(f"{number}.png", robustness.IMAGES["PNG"])
    return _json(robustness.COCO)


_TRUTH, _DETECTED = _truth(), _json(robustness.RESULTS)
_LABELME = {
    "imagePath": "a.png", "imageHeight": 16, "imageWidth": 24,
    "shapes": [
        {"label": "a", "points": [[1, 2], [9, 8]], "shape_type": "rectangle", "group_id": None},
        {"label": "b", "points": [[5, 5], [6, 7]], "shape_type": "circle", "group_id": 1},
    ],
}  # fmt: skip
_HUGGING_FACE = {"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "categories": ["a"]}}
_VOC = (
    b"<annotation><filename>a.png</filename><object><name>a</name><bndbox><xmin>1</xmin><ymin>2</ymin>"
    b"<xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
)
_MASKS = {
    "images": [{"id": "x", "file_name": "1.png", "width": 10, "height": 8}],
    "categories": [{"id": 1, "name": "a"}],
    "annotations": [
        {"image_id": "x", "category_id": 1, "segmentation": {"size": [8, 10], "counts": "j03500000f0"}},
        {"image_id": "x", "category_id": 1, "segmentation": {"size": [8, 10], "counts": [26, 3, 51]}},
        {"image_id": "x", "category_id": 1, "segmentation": [[1, 2, 9, 2, 9, 8]]},
    ],
}
_COCO_CAPTIONS = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": "x", "file_name": "b.jpg"}],
    "annotations": [{"id": 1, "image_id": "x", "caption": "a cat"}, {"id": 2, "image_id": 1, "caption": "a dog"}],
}
_CAPTIONS = b'{"image": "a.jpg", "caption": "a cat"}\n{"image": "b.jpg", "caption": ["a [dog]", "two"]}\n'

SEEDS: dict[str, Iterable[bytes]] = {
    "texts": [
        _joined("cat . remote . St. Bernard . red_square (small)"),
        _joined("cat, dog, (a, b)"),
        _joined("two cats on a couch"),
        _joined("cat", "st. bernard", "é图😀"),
        _joined("$: coco"),
        _joined("shipping container = container . dog = pet ."),
    ],
    "labels": [
        b"cat\nred_square (small) = box\n# none\n\nSt. Bernard\n",
        "\ufeffé图😀\r\nß\r\n".encode(),
        b'{"names": ["cat", "St. Bernard"]}',
        b"nc: 2\nnames:\n  0: cat\n  1: &a dog\n",
        b'id,name\n1,cat\n2,"a, b"\n',
    ],
    "caption": [
        _joined("two cats on a couch", "[[[0, 8]], [[14, 19]]]", "cats", "a couch"),
        _joined('a [cat] and the U.S. Army\'s "dog"', "[[3,6]]", "dog"),
        _joined("ßtraße İ e\u0301", "((0,2),(3,4))", "STRASSE"),
    ],
    "image": list(robustness.IMAGES.values()),
    "frames": [_pages("TIFF"), _pages("GIF"), _pages("PNG"), _pages("WEBP")],
    "clip": [_clip("mp4"), _clip("matroska"), _clip("avi")],
    "checkpoint": list(robustness.CHECKPOINTS.values()),
    "card": [_json(robustness.CARD)],
    "coco": [
        _TRUTH + BETWEEN + _DETECTED,
        _TRUTH + BETWEEN + _json(robustness.RECORD),
        _json(robustness.GROUNDING),
        _json(_MASKS),
    ],
    "thresholds": [robustness.THRESHOLDS],
    "settings": [robustness.TOML],
    "journal": [
        robustness.JOURNAL,
        b'{"a": {"first": 1.5, "last": 2, "images": 3, "failed": 1, "kinds": {"broken": 1}}}',
    ],
    "list": [_list(), "\ufeff0.png\r\n".encode("utf-16")],
    "captions": [_CAPTIONS, b'image,caption\na.jpg,"a cat, a dog"\nb.jpg,two\n', _tar(), _json(_COCO_CAPTIONS)],
    "dataset": [
        _json(_LABELME),
        _json(_HUGGING_FACE),
        _VOC,
        b"names: [a, b]\ntrain: .\nval: a.png\n" + BETWEEN + b"0 .5 .5 .5 .5\n",
        b"a\nb\n" + BETWEEN + b"1 .25 .25 .75 .25 .75 .75\n",
        b"classes = 2\nvalid = a.png\nnames = data/obj.names\n" + BETWEEN + b"0 .5 .5 .5 .5 .9\n",
    ],
    "archive": [_tar(), _parquet()],
    "prompts": [
        b'{"image": "a.jpg", "prompt": "cat . dog ."}\n{"image": "a.jpg", "texts": ["a", "b = c"]}\n',
        b'image,prompt,caption\na.jpg,"cat, dog",\nb.jpg,,"a [dog] on a couch"\n',
    ],
    "words": [
        b'{"c17": "shipping container", "dog": "small dog"}',
        b'c17 = "a box"\n',
        b"small dog = dog\nst. bernard\n",
    ],
}

_JSON = "{ } [ ] : , null true -1 1e999 NaN \\ud800 \\u0000 \\n"
_COCO = "id image_id file_name width bbox area iscrowd segmentation size counts name "
_COCO += "caption tokens_positive score neg_category_ids coco_url"
WORDS: dict[str, str] = {
    "texts": ". ( ) [ ] , = _ $: coco [SEP] ## é 图 ß İ \u0301 \u2028 \ufeff \u200b \x7f",
    "labels": '( ) # _ . [SEP] ß İ \ufeff \u2028 names: categories - & * ! , " [ ] { }',
    "caption": "[ ] ( ) , [[0, 1]] . '' `` \" n't U.S. ß İ \u0301 \u2028",
    "frames": "II*\0 MM\0* GIF89a IHDR acTL fcTL fdAT RIFF WEBP ANIM ANMF",
    "clip": "ftypisom moov mvhd trak tkhd mdat moof stsd avc1 \x1aE\xdf\xa3 RIFF AVI #EXTM3U ffconcat",
    "image": "Exif\0\0 IHDR IDAT eXIf iCCP acTL ftyp RIFF WEBP VP8X II*\0 MM\0* GIF89a",
    "checkpoint": "PK\x03\x04 PK\x01\x02 PK\x05\x06 cos\nsystem\n cbuiltins\nexec\n ctorch\nfloat32\n data_offsets F16",
    "card": f"{_JSON} mode full lora labels training base_sha256",
    "coco": f"{_JSON} {_COCO}",
    "thresholds": "[ ] = \" ''' . nan inf thresholds",
    "settings": "[ ] = \" ''' . nan inf detect batch threshold texts top-k true 1979-05-27",
    "journal": f"{_JSON} image error detections box first last images kinds",
    "list": "# @ \\ / . http:// https:// 0.png \0 \ufeff \x1b",
    "captions": f'{_JSON} image caption file_name text images annotations image_id id " .jpg .txt .json \ufeff',
    "prompts": f'{_JSON} image prompt texts caption " [ ] = . @a.txt $: coco \ufeff',
    "archive": "PAR1 ustar \0 0000644 path=a.jpg ././@LongLink L x g 1.png \xff",
    "words": f"{_JSON} = \" # . ( )",
    "dataset": f"{_JSON} shapes points label shape_type circle file_name objects bbox categories a.png names: val: "
    "kpt_shape: [1,2] & * <annotation> </annotation> <object> <bndbox> valid = obj.names 0 .5 1e400",
}  # fmt: skip
"""Each between blanks."""
