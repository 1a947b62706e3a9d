"""No test fails because a machine was busy: hypothesis must not time its examples, and workers share the cores."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: one thread for each worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

settings.register_profile("glip", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("glip")
