"""From files of boxes to batches.

readers.py, rows.py, classes.py   a file or folder, as `glip_cli.data` reads it -> TrainSet (sets.py)
shots.py               a few images of every class
prompts.py             what is asked of an image, and which tokens name each box
drawn.py, shown.py     drawn scenes instead of files; an image with its boxes and prompt
transforms.py          sizes and flips
batches.py             a stream without end that can begin anywhere
"""
