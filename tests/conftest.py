"""No test fails because a machine was busy, or by chance.

Hypothesis does not time its examples, and takes the same ones in every run; `pytest --hypothesis-profile=search` looks
for others. Workers share the cores.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: one thread for each worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("glip", settings.get_profile("search"), derandomize=True)
settings.load_profile("glip")
