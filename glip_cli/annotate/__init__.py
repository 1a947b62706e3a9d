"""The teacher of self-training: pictures with captions in, boxes for the phrases of the captions out.

captions   a file, folder or tar -> pictures, each with one sentence
parts      a sentence -> its prompt
engine     pictures with sentences -> records; what `batch` is for pictures alone
grounding  records -> grounding.json to train on, and pre-labels for other tools
"""
