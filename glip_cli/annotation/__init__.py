"""The teacher of self-training: images with captions in, boxes for the phrases of the captions out.

captions   a file, folder or tar -> images, each with one sentence
parts      a sentence -> its prompt
engine     images with sentences -> records; what `batch` is for images alone
grounding  records -> grounding.json to train on, and pre-labels for other tools
"""
