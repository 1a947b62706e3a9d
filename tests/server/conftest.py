from __future__ import annotations

from collections.abc import Iterator

import pytest

from glip_cli.detector import Detector
from tests.server.serving import serving


@pytest.fixture(scope="package")
def detector() -> Detector:
    return Detector.load("glip-mini", device="cpu", offline=True)


@pytest.fixture(scope="package")
def url(detector: Detector) -> Iterator[str]:
    """Of a server with glip-mini and the usual options."""
    with serving(detector) as address:
        yield address
