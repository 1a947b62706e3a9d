"""Images and annotations of users, read once for eval, finetune and annotate alike.

What an INPUT names, image by image:
sources, input_scan             files, folders, globs, URLs, stores, lists -> `ImageInput`s (image_input)
image_files_below               images below a folder, or that a glob names
archives                        images inside a file: tar_images, parquet_images
frame_inputs, video             images inside a file: pages, frames of animations and videos
stores                          objects in S3, Google Cloud Storage and the Hugging Face Hub
stored_folder                   a folder in S3 or Google Cloud Storage, for the results of a run
download, public_url, disk      bytes of the web, safely; of disks that may not answer
image_io, pillow                bytes -> pixels

Data sets of boxes -> `Dataset` (dataset, issues):
formats                         which kind a file or folder is
coco, masks                     COCO, LVIS and grounding json
yolo                            YOLO: yolo_description has its classes and splits, yolo_lines its lines
voc, labelme                    a file for each image (per_image)
imagefolder, tensorflow_csv     a table
values                          ids, numbers and texts of files
image_files, image_headers      where the images of a set are; their sizes
box_transforms                  boxes of images of another size than stated

Rows of text about images:
captions                        images with sentences: caption_rows, webdataset
prompted                        images with prompts
rows                            lines of csv and jsonl

synthetic                       drawn scenes
"""
