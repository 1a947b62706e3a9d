"""From files of boxes to batches.

readers.py, yolo.py, voc.py, rows.py, classes.py, pictures.py   a file or folder -> TrainSet (sets.py)
check.py, tables.py    what is wrong with it, found before training starts
shots.py               a few pictures of every class
prompts.py             what is asked of a picture, and which tokens name each box
drawn.py, shown.py     drawn scenes instead of files; a picture with its boxes and prompt
transforms.py          sizes and flips
batches.py             a stream without end that can begin anywhere
"""
