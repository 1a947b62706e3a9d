"""Records to what tools for annotation and training read: Pascal VOC, CVAT and Label Studio.

Boxes are clipped to the image, because these tools refuse a corner outside it. Images that failed are left out.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from glip_cli.outputs.files import AtomicFile, JsonList, Spool, Writer, path_parts, save_xml, xml_text
from glip_cli.outputs.records import AnyRecord, ClassNumbers, Record, corners, corners_inside
from glip_cli.utils.text_format import path_of_shown

_URL = re.compile(r"https?://", re.IGNORECASE)

VOC_ORIGIN = "glip, pixels count from 1"

Tree = Mapping[str, "str | float | Tree"]


class VocWriter(Writer):
    """`Annotations/<name>.xml` per image, laid out as in Pascal VOC 2012, with a `score` in every `object`.

    Corners are whole pixels as in the devkit: counted from 1, `xmax` and `ymax` the last pixel inside the box, so
    the whole image is 1, 1, width, height. `source/annotation` says so; files of glip before it count from 0, and
    `glip finetune` tells them apart by it. A box is at least one pixel wide and high. Control characters that XML
    cannot hold become Python's escapes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "Annotations"

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            return
        *_, folder, filename = ["", *_parts_of(record["image"])]
        root = Element("annotation")
        _grow(root, {
            "folder": folder,
            "filename": filename,
            "path": record["image"],
            "source": {"database": f"glip {record['model']}", "annotation": VOC_ORIGIN},
            "size": {"width": record["width"], "height": record["height"], "depth": 3},
            "segmented": 0,
        })  # fmt: skip
        for detection in record["detections"]:
            x1, y1, x2, y2 = corners(detection)
            xmin, xmax = _whole_pixels(x1, x2, record["width"])
            ymin, ymax = _whole_pixels(y1, y2, record["height"])
            _grow(root, {"object": {
                "name": detection["label"],
                "pose": "Unspecified",
                "truncated": 0,
                "difficult": 0,
                "score": detection["score"],
                "bndbox": {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax},
            }})  # fmt: skip
        save_xml(self._folder / f"{name}.xml", root)


def _parts_of(image_name: str) -> list[str]:
    """Folders and name; a backslash is part of a name where there is such a file, else it is a slash."""
    is_name = os.sep != "\\" and "\\" in image_name and os.path.lexists(path_of_shown(image_name))
    return image_name.split("/") if is_name else path_parts(image_name)


def _whole_pixels(low: float, high: float, size: int) -> tuple[int, int]:
    """The first and the last pixel between two edges, 1 <= first <= last <= size."""
    first = min(max(round(low), 0), size - 1) + 1
    return first, min(max(round(high), first), size)


def _grow(parent: Element, tree: Tree) -> None:
    """A child for each item of `tree`: with the text of a value, or with children of its own."""
    for tag, value in tree.items():
        child = SubElement(parent, tag)
        if isinstance(value, Mapping):
            _grow(child, value)
        else:
            child.text = xml_text(str(value))


class CvatWriter:
    """`cvat.xml`: "CVAT for images 1.1", which CVAT imports as annotations of a task with the same images.

    The format has no score. Control characters that XML cannot hold become Python's escapes.
    """

    def __init__(self, folder: Path) -> None:
        self._classes, self._count = ClassNumbers(), 0
        self._file = AtomicFile(folder / "cvat.xml")
        self._images = Spool()  # the labels, which stand before them, are known last

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            return
        self._classes.learn(record["labels"])
        image = Element("image", id=str(self._count), name=xml_text(record["image"]),
                        width=str(record["width"]), height=str(record["height"]))  # fmt: skip
        self._count += 1
        for detection in record["detections"]:
            x1, y1, x2, y2 = corners_inside(record, detection)
            width, height = record["width"], record["height"]
            SubElement(image, "box", label=xml_text(detection["label"]), source="auto", occluded="0", z_order="0",
                       xtl=f"{x1 * width:.2f}", ytl=f"{y1 * height:.2f}",
                       xbr=f"{x2 * width:.2f}", ybr=f"{y2 * height:.2f}")  # fmt: skip
        self._images.write(_xml_lines(image))

    def close(self) -> None:
        meta = Element("meta")
        labels = SubElement(SubElement(meta, "task"), "labels")
        for label in self._classes:
            _grow(labels, {"label": {"name": label, "type": "rectangle"}})
        self._file.write(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        self._file.write(_xml_lines(meta))
        for block in self._images.blocks():
            self._file.write(block)
        self._file.write(b"</annotations>\n")
        self._file.close()


def _xml_lines(element: Element) -> bytes:
    """A child of the root, indented."""
    indent(element, level=1)
    return b"  " + tostring(element, encoding="unicode").encode() + b"\n"


class LabelStudioWriter:
    """`labelstudio.json`, tasks with the boxes as predictions, and `labelstudio.xml`, the labeling configuration.

    Paste the xml under Settings > Labeling Interface > Code, then import the json. A task's score is the mean
    of its boxes' scores, null without one. Percentages are to 6 decimals. Control characters in labels
    become Python's escapes, in both files.

    An image of the web keeps its URL. One of a disk becomes `/data/local-files/?d=PATH`, which Label Studio
    serves from its document root (https://labelstud.io/guide/storage.html#Local-storage): start it with

        LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=ROOT label-studio

    where ROOT is `/` when the images were named by absolute paths, else the folder in which glip ran; then add,
    under Settings > Cloud Storage, a source storage "Local files" with the images' folder (it need not be
    synced). Label Studio refuses paths that leave ROOT by `..`, and images that lie in ROOT itself: name such
    images by absolute paths.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._classes = ClassNumbers()
        self._tasks = JsonList(AtomicFile(folder / "labelstudio.json"), b"[", b"]\n")

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" in record:
            self._classes.learn(record["labels"])
            prediction = labelstudio_prediction(record, [xml_text(label) for label in record["labels"]])
            self._tasks.add({"data": {"image": _served(record["image"])}, "predictions": [prediction]})

    def close(self) -> None:
        self._tasks.close()
        view = Element("View")
        SubElement(view, "Image", name="image", value="$image")
        choices = SubElement(view, "RectangleLabels", name="label", toName="image")
        for label in self._classes:
            SubElement(choices, "Label", value=xml_text(label))
        save_xml(self._folder / "labelstudio.xml", view)


def _served(image_name: str) -> str:
    """The image's URL in Label Studio: `d` is a path below its document root."""
    if _URL.match(image_name):
        return image_name
    path = posixpath.normpath(PurePath(path_of_shown(image_name)).as_posix()).lstrip("/")
    return "/data/local-files/?d=" + quote(os.fsencode(path))


def labelstudio_prediction(
    record: Record, values: Sequence[str], from_name: str = "label", to_name: str = "image", ids: str = "box"
) -> dict[str, object]:
    """One prediction of a task in Label Studio's format.

    Args:
        values: for each of the record's labels the `value` of the Label that its boxes get.
        from_name, to_name: the names of the RectangleLabels and of its Image.
        ids: what the regions' ids begin with.
    """
    scores = [detection["score"] for detection in record["detections"]]
    regions = []
    for i, detection in enumerate(record["detections"]):
        x1, y1, x2, y2 = corners_inside(record, detection)
        fractions = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
        percent = {name: round(100 * fraction, 6) for name, fraction in fractions.items()}
        regions.append({
            "id": f"{ids}-{i}",
            "type": "rectanglelabels",
            "original_width": record["width"],
            "original_height": record["height"],
            "image_rotation": 0,
            "value": {**percent, "rotation": 0, "rectanglelabels": [values[detection["label_id"]]]},
            "score": detection["score"],
            "from_name": from_name,
            "to_name": to_name,
        })  # fmt: skip
    score = round(sum(scores) / len(scores), 6) if scores else None
    return {"model_version": record["model"], "score": score, "result": regions}
