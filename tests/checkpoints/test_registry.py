import subprocess
import sys
from urllib.parse import urlparse

import pytest

from glip_cli.checkpoints import registry
from glip_cli.errors import UnknownModelError
from glip_cli.model.config import ARCHITECTURES

RELEASED = ["glip-t-a", "glip-t-b", "glip-t-c", "glip-t", "glip-l"]


def test_every_released_model_has_its_three_files():
    for name in RELEASED:
        for suffix, dialect in (("", "mmdet"), ("-coco", "mmdet"), ("-official", "official")):
            checkpoint = registry.find(name + suffix)
            assert (checkpoint.dialect, checkpoint.kind) == (dialect, "detector")
            assert checkpoint.architecture == registry.find(name).architecture


def test_entries_are_complete():
    for checkpoint in registry.all():
        assert checkpoint.architecture in ARCHITECTURES
        assert checkpoint.licence
        assert checkpoint.pretraining
        ways = [bool(checkpoint.urls), checkpoint.file is not None, checkpoint.unavailable is not None]
        assert sum(ways) == 1, checkpoint.name
        assert all(urlparse(url).scheme == "https" for url in checkpoint.urls)


def test_hash_prefixes_are_those_of_the_file_names():
    for checkpoint in registry.all():
        if checkpoint.sha256_prefix:
            assert all(url.endswith(f"-{checkpoint.sha256_prefix}.pth") for url in checkpoint.urls)
        if checkpoint.sha256:
            assert len(checkpoint.sha256) == 64


def test_names_and_files_are_unique():
    urls = [url for checkpoint in registry.all() for url in checkpoint.urls]
    assert len(urls) == len(set(urls))
    assert registry.names() == tuple(checkpoint.name for checkpoint in registry.all())


def test_published_numbers_are_percentages_with_a_source():
    for checkpoint in registry.all():
        for number in checkpoint.published:
            assert 5 < number.value < 70
            assert number.source in ("mmdetection", "microsoft", "paper")
    assert registry.find("glip-t").published[0].value == 46.6


def test_dead_files_say_why():
    assert "Azure" in (registry.find("glip-l-lvisbest").unavailable or "")


@pytest.mark.parametrize(
    ("typed", "near"),
    [("glip-T", "glip-t"), ("glip_tiny", "glip-t"), ("glip-t-cocoo", "glip-t-coco"), ("", "glip-nano")],
)
def test_an_unknown_name_suggests_the_nearest(typed, near):
    with pytest.raises(UnknownModelError, match=near) as caught:
        registry.find(typed)
    assert "\n" not in str(caught.value)


def test_the_list_of_models_needs_no_torch():
    code = "import sys; from glip_cli.checkpoints import registry; registry.all(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
