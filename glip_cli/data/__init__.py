"""Images and annotations of users, read once for eval, finetune and annotate alike.

sources, image_files_below    what an INPUT names -> images: files, folders, globs, URLs, lists
image_io, pillow, download    one image: bytes -> pixels
frame_inputs, video           videos, and images of several frames or pages, frame by frame
formats                       which kind a data set is; TensorFlow's csv
coco, yolo, voc               one reader for each kind
values, dataset               ids and numbers of a file; its rows, checked
image_files, frames           where images lie, their sizes; boxes of images of another size than stated
issues                        what is wrong with a set: how often, the first example, what happens to it
captions, webdataset          images with sentences
synthetic                     drawn scenes
"""
