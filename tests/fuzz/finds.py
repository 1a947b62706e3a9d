"""Inputs that a search found and that once got through, as small as they could be made."""

from __future__ import annotations

import json

_IMAGES = [{"id": 1, "file_name": "1.png"}]
_LARGE = [{**_IMAGES[0], "width": 2**32}]
_NAMED = [{"id": 1, "name": "circle"}]
_HALF = [{"id": 1, "name": "\ud800"}]

FINDS: list[tuple[str, bytes]] = [
    # the name of a class that a pickle asks for was printed as it is, with what a terminal obeys
    ("checkpoint", b"\x80\x02c\x1b[2Jos\nsys\x00tem\n."),
    # so was a key of a card that no card has
    ("card", b'{"format": "glip-tuned/1", "\\u001b[2J": 1}'),
    # classes, and none of them has a name: ValueError
    ("coco", json.dumps({"images": _IMAGES, "annotations": [], "categories": [{"id": 1, "name": ""}]}).encode()),
    # an image wider than hotcoco's numbers: ValueError
    ("coco", json.dumps({"images": _LARGE, "annotations": [], "categories": _NAMED}).encode()),
    # a class called by half a character: UnicodeEncodeError
    ("coco", json.dumps({"images": _IMAGES, "annotations": [], "categories": _HALF}).encode()),
]
