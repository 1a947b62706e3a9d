"""The server's metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The metrics of one server; several in a process are separate."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("glip_requests", "Requests answered.", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            "glip_request_seconds", "From a request's first byte to its answer.", ["path"], buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.images = Counter("glip_images", "Images of all requests.", ["outcome"], registry=self.registry)
        self.model_seconds = Histogram(
            "glip_model_seconds", "The model's time for a batch.", buckets=SECONDS, registry=self.registry
        )
        self.batch = Histogram(
            "glip_batch_images", "Images that the model saw at once.", buckets=(1, 2, 4, 8, 16), registry=self.registry
        )
        self.queue = Gauge("glip_queue_images", "Images in the server, waiting or in work.", registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)
