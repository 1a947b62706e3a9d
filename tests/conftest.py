"""No test fails because a machine was busy: hypothesis must not time its examples."""

from hypothesis import HealthCheck, settings

settings.register_profile("glip", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("glip")
