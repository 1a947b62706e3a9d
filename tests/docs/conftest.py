"""One world for all of these tests: what is in it is drawn once."""

import pytest

from tests.docs.sandbox import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))
