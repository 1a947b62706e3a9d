"""Evaluation of boxes: ground truth, COCO and LVIS AP, thresholds for each label."""
