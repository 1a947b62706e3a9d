"""How good the boxes are: ground truth, COCO and LVIS AP, thresholds for each label. Numbers in, numbers out."""
