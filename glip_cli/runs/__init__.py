"""Many images: read ahead of the model, detected in bulk, written down so that nothing is lost.

sources -> prefetch.py -> runner.py -> Outcome, Outcome, ...       what `glip detect` shows
           folder.py: items -> engine -> journal.py, shards.py     what `glip batch` and `glip eval` keep
                               engines: local.py, ray.py
"""
