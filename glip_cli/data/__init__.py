"""Files of boxes, read once for eval and finetune alike.

formats.py                       which kind a file or folder is -> tables.py, the rows of a COCO file
coco.py, box_csv.py              json and csv
yolo.py, yolo_lines.py           YOLO's folders and lines
voc.py, voc_xml.py               Pascal VOC's folders and files
reading.py, ids.py, rows.py      values that people hand over, ids of any kind, one row at a time
image_search.py, image_files.py  where the images lie; their sizes, and whether they are whole
frames.py                        boxes of images that are of another size than stated
issues.py                        what is wrong with a set: how often, the first example, what happens to it
"""
