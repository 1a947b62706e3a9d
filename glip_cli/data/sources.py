"""From INPUT as typed to a stream of images, in order, one at a time.

    file | folder | glob | http(s) URL | s3://, gs://, hf:// | tar | parquet | @list.txt | -   ->   Source, Source, ...

A million images cost no more memory than the names of one folder, or of one page of a store's listing. An input that
can never give an image (an empty folder, a glob without a match) is a `UsageError` before the first image; a single
image that cannot be had is an `ImageError` when it is opened, so that the others go on.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, takewhile
from pathlib import Path
from typing import BinaryIO

from glip_cli.data.archives import is_archive
from glip_cli.data.frame_inputs import FrameChoice
from glip_cli.data.image_files_below import Passed, has_image_suffix, split_parts, split_pattern
from glip_cli.data.image_input import ImageInput, is_url, is_web, shown_file
from glip_cli.data.input_scan import InputScan, is_folder, is_list, resolved
from glip_cli.data.stores import is_stored
from glip_cli.errors import UsageError
from glip_cli.utils.text_format import one_line, shown_path, shown_url

__all__ = ["ImageInput", "common_folder", "expand", "image_in_list", "is_cheap_to_count"]


def expand(
    inputs: str | Iterable[str],
    *,
    offline: bool = False,
    stdin: BinaryIO | None = None,
    own: Sequence[Path | str] = (),
    passed: Passed | None = None,
    frames: FrameChoice | None = None,
) -> Iterator[ImageInput]:
    """Every image that `inputs` name, in their order; inside a folder or glob sorted by name, depth first.

    Folders are read recursively: images by their suffix, nothing hidden, each real folder once (so links
    that lead back do no harm). A folder called x.jpg in which there is no image is given too, and fails
    when it is opened, as a file called so that is none. A path that exists is taken as it is before it is
    read as a glob or a list. An image named twice comes twice.

    Args:
        inputs: the arguments as typed; a single str is one of them.
        offline: URLs then fail when they are opened.
        stdin: where `-` reads paths, one per line; by default the process's own.
        own: folders, or URLs of some, into which the command writes images: what is found there by a folder or glob
            above them is left out, or `glip batch . -o run` would go on with its own drawings.
        passed: counts what is passed over in folders.
        frames: which frames of videos and of images that hold several are read, each an input of its own, decoded
            when its turn comes; None: of images the first, and no videos.

    Raises:
        UsageError: at once, where a folder, glob or list names no image; when its turn comes, for `-`.
    """
    given = (inputs,) if isinstance(inputs, str) else inputs
    left_out = tuple(f"{one}/" if isinstance(one, str) else os.path.realpath(one) + os.sep for one in own)
    look = InputScan(offline, stdin, left_out, passed or Passed(), frames)
    return chain.from_iterable([look.begin(_without_nul(text)) for text in given])


def image_in_list(text: str, folder: Path, offline: bool = False) -> ImageInput:
    """The one image that a line of a file in `folder` names: a URL, or a path from here or from that folder."""
    if is_url(text):
        return ImageInput(shown_url(text), text, offline)
    path = resolved(text, folder)
    return ImageInput(shown_file(text, path), path, offline)


def is_cheap_to_count(inputs: Iterable[str]) -> bool:
    """Whether a second look costs little: a pipe has none, and for its index all of a tar in a store is fetched."""
    return not any(text == "-" or (is_stored(text) and is_archive(text)) for text in inputs)


def common_folder(inputs: Iterable[str]) -> str:
    """The deepest folder that holds every file and folder that `inputs` name, as their names begin; "" without one.

    What is made from images mirrors the folders below it. A list, stdin and URLs of the web do not count.
    """
    folders = [_folder_of(text).parts for text in inputs if text != "-" and not is_web(text) and not is_list(text)]
    common = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))]
    return shown_path(str(Path(*common))) if common else ""


def _folder_of(text: str) -> Path:
    if is_stored(text):
        fixed, _ = split_parts(Path(shown_url(text)).parts)
        is_one = has_image_suffix(fixed[-1]) or is_archive(fixed[-1])
        return Path(*fixed).parent if is_one else Path(*fixed)
    path = text if os.path.lexists(text) else os.path.expanduser(text)
    if glob.has_magic(path) and not os.path.lexists(path):
        return split_pattern(path)[0]
    return Path(path) if is_folder(path) else Path(path).parent


def _without_nul(text: str) -> str:
    """No shell can type it, but a program can hand it over, and systems refuse such paths each in its own way."""
    if "\0" in text:
        raise UsageError(f"{one_line(text)}: a NUL character is in no path; give a file, a folder, a glob or a URL")
    return text
