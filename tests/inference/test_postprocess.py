"""Post-processing on outputs written by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from glip_cli.inference.postprocess import PostprocessOptions, label_scores, postprocess
from glip_cli.inference.preprocess import PreprocessedImage
from glip_cli.model.head import RawOutput

SIZES = ((4, 4), (2, 2), (1, 1), (1, 1), (1, 1))
COUNT = 23
WHOLE = PreprocessedImage(torch.zeros(3, 32, 32), (32, 32), scale=(1.0, 1.0))


def output(hits: dict[tuple[int, int], float], centerness: float = 100.0, tokens: int = 4) -> RawOutput:
    """Probabilities at (location, token); all else is nothing."""
    probability = torch.full((1, COUNT, tokens), 1e-6)
    for (location, token), value in hits.items():
        probability[0, location, token] = value
    return RawOutput(probability.logit(), torch.zeros(1, COUNT, 4), torch.full((1, COUNT), centerness), SIZES)


def found(raw: RawOutput, matrix: Tensor, image: PreprocessedImage = WHOLE, limits: PostprocessOptions | None = None):
    return postprocess(raw, [matrix], [image], limits or PostprocessOptions())[0]


def test_a_label_scores_the_mean_of_its_tokens() -> None:
    result = found(output({(5, 1): 0.9, (5, 2): 0.5}), label_scores("mean", [[1, 2], [3]], 4))
    assert result.labels.tolist() == [0]
    torch.testing.assert_close(result.scores, torch.tensor([0.7]).sqrt())


def test_the_score_is_weighed_by_centerness_after_the_floor() -> None:
    """0.06 passes the floor of 0.05 by itself and stays, though its weighed score is lower."""
    result = found(output({(5, 1): 0.06, (6, 1): 0.04}, centerness=-5.0), label_scores("mean", [[1]], 4))
    expected = (0.06 * torch.tensor(-5.0).sigmoid()).sqrt()
    torch.testing.assert_close(result.scores, expected.reshape(1), rtol=1e-4, atol=0)


def test_labels_suppress_only_themselves_unless_told_otherwise() -> None:
    """Locations 18 and 19 are neighbours on the second level; their boxes, clipped, are nearly the whole image."""
    raw = output({(18, 1): 0.9, (18, 2): 0.8, (19, 1): 0.7})
    matrix = label_scores("mean", [[1], [2]], 4)
    assert found(raw, matrix).labels.tolist() == [0, 1]
    assert found(raw, matrix, limits=PostprocessOptions(nms_iou=1.0)).labels.tolist() == [0, 1, 0]
    assert found(raw, matrix, limits=PostprocessOptions(agnostic=True)).labels.tolist() == [0]


def test_boxes_go_back_to_the_original_and_end_one_past_the_last_pixel() -> None:
    half = PreprocessedImage(torch.zeros(3, 32, 32), (64, 128), scale=(0.5, 0.25))
    result = found(output({(20, 1): 0.9}), label_scores("mean", [[1]], 4), half)
    assert result.boxes.tolist() == [[0, 0, 63, 125]]


def test_only_so_many_candidates_and_results() -> None:
    raw = output({(location, 1): 0.5 + location / 100 for location in range(COUNT)})
    everything = PostprocessOptions(nms_iou=1.0)
    matrix = label_scores("mean", [[1]], 4)
    assert len(found(raw, matrix, limits=everything).scores) == COUNT
    assert len(found(raw, matrix, limits=PostprocessOptions(nms_iou=1.0, pre_nms_top_k=3)).scores) == 3 + 3 + 3
    best = found(raw, matrix, limits=PostprocessOptions(nms_iou=1.0, max_per_image=2))
    torch.testing.assert_close(best.scores, found(raw, matrix, limits=everything).scores[:2])


def test_nothing_found_is_empty_and_not_an_error() -> None:
    result = found(output({}), label_scores("mean", [[1]], 4))
    assert result.boxes.shape == (0, 4)
    assert result.scores.shape == result.labels.shape == (0,)
