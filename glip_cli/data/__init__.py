"""Files of boxes, read once for eval and finetune alike.

reading.py, rows.py              JSON that people hand over; one row of it
yolo.py, voc.py, tables.py       other formats -> the rows of a COCO file
image_search.py, image_files.py  where the images lie; their sizes, and whether they are whole
issues.py                        what is wrong with a set: how often, the first example, what happens to it
"""
