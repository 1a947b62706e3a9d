"""Many images: read ahead of the model, detected in bulk, written so that nothing is lost.

sources -> prefetch -> runner -> ImageResult, ImageResult, ...     what `glip detect` shows
           run_dir: items -> engine -> journal, shards             what `glip batch` and `glip eval` keep
                              engines: local.LocalEngine, ray
           stored_run: the same folder in a store                  its records in parts (stored_shards), its images
           status, merge                                           what it holds, seen from outside
           videos: results -> tracks, annotated videos             what is made of them once they are complete
"""
