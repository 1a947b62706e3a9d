"""`grid.jpg`: which images are on it, and what is seen of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glip_cli.data.image_io import read_image
from glip_cli.outputs.earlier import check_earlier, clear_earlier
from glip_cli.outputs.grid import GridWriter
from glip_cli.outputs.records import error_record
from tests.outputs.examples import HOSTILE, image, left_in


class Grid(GridWriter):
    """Says which images are on the page."""

    def close(self) -> None:
        self.shown: dict[str, list[str]] = {}
        super().close()

    def _page(self, kinds):  # type: ignore[no-untyped-def]
        self.shown = {title.partition(":")[0]: [one[2]["image"] for one in images] for title, images in kinds}
        return super()._page(kinds)


def run(folder: Path, scores: list[float | None]) -> Grid:
    """Images called 0.png, 1.png ..., with two boxes each, the best of a score; None: without a box."""
    writer = Grid(folder, read_image)
    for i, score in enumerate(scores):
        record = image(f"{i}.png", [] if score is None else [[5, 5, 60, 60], [9, 9, 30, 30]])
        for found, value in zip(record["detections"], (score, 0.1), strict=False):
            found["score"] = value or 0.0
        writer.add(record, str(i))
    writer.close()
    return writer


def test_the_best_and_the_doubtful_each_once(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).permutation(np.linspace(0.3, 0.9, 100)).round(4).tolist()
    shown = run(tmp_path, scores).shown
    order = [f"{i}.png" for i in np.argsort(scores)]
    assert shown == {"Best": order[::-1][:12], "Doubtful": order[:12]}
    with Image.open(tmp_path / "grid.jpg") as page:
        assert page.size == (16 + 6 * 336, 16 + 2 * (44 + 2 * 280))


@pytest.mark.parametrize(
    ("scores", "best", "doubtful"),
    [
        ([0.5], ["0.png"], None),
        ([0.5, 0.9, None, 0.5], ["1.png", "0.png"], ["3.png"]),
        ([0.5] * 3, ["0.png", "1.png"], ["2.png"]),
        ([None, None], None, None),
    ],
)
def test_of_a_few_images(
    scores: list[float | None], best: list[str] | None, doubtful: list[str] | None, tmp_path: Path
) -> None:
    shown = run(tmp_path, scores).shown
    assert (shown.get("Best"), shown.get("Doubtful")) == (best, doubtful)
    assert (tmp_path / "grid.jpg").exists()


def test_a_cell_has_the_image_with_its_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (640, 480), (90, 90, 90)).save("0.png")
    writer = GridWriter(tmp_path / "run", read_image)
    writer.add(image("0.png", [[100, 100, 500, 400]]), "0")
    writer.close()
    with Image.open("run/grid.jpg") as page:
        cell = np.asarray(page)[16 + 44 : 16 + 44 + 240, 16 : 16 + 320].astype(int)
    rows, columns = np.nonzero(cell[..., 0] - cell[..., 1] > 60)  # red; the image is twice as large
    assert (columns.min(), columns.max(), rows.max()) == pytest.approx((50, 250, 200), abs=2)


def test_images_that_cannot_be_had_are_grey_and_hostile_names_are_drawn(tmp_path: Path) -> None:
    writer = GridWriter(tmp_path, read_image)
    for i, name in enumerate(("https://example.org/a.png", *HOSTILE)):
        writer.add(image(name, [[0, 0, 9, 9]], [name]), str(i))
    writer.add(error_record("b.png", "b.png: no such file", "m"), "b")
    writer.close()
    assert list(left_files(tmp_path)) == ["grid.jpg"]
    check_earlier(tmp_path, ["grid"], [])
    clear_earlier(tmp_path)
    assert left_in(tmp_path) == {}


def left_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
