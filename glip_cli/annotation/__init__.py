"""The teacher of self-training: images with captions in, boxes for the phrases of the captions out.

run        `annotate`, which keeps a run folder
engine     images with sentences -> records; what `LocalEngine` is for images alone
grounding  records -> grounding.json to train on, and pre-labels for other tools
"""
