"""Images and annotations of users, read once for eval, finetune and annotate alike.

What an INPUT names, image by image:
sources                         files, folders, globs, URLs, stores, lists -> `ImageInput`s (image_input)
image_files_below               images below a folder, or that a glob names
archives                        images inside a file: members of a tar, rows of a Parquet table
frame_inputs                    images inside a file: pages, frames of animations and videos
stores                          objects in S3, Google Cloud Storage and the Hugging Face Hub
stored_folder                   a folder in S3 or Google Cloud Storage, for the results of a run
download, disk                  bytes of the web, safely; of disks that may not answer
image_io, pillow                bytes -> pixels

Data sets of boxes -> `Dataset` (dataset, issues):
formats                         which kind a file or folder is
coco                            COCO, LVIS and grounding json
yolo                            YOLO: yolo_description has its classes and splits, yolo_lines its lines
voc, labelme                    a file for each image (per_image)
tables                          a table of all images: imagefolder, TensorFlow's csv
values                          ids, numbers and texts of files, lines of csv and jsonl
image_files, image_headers      where the images of a set are; their sizes
box_transforms                  boxes of images of another size than stated

Rows of text about images:
captions                        images with sentences
prompted                        images with prompts

synthetic                       drawn scenes
"""
