"""The command that takes the picture of the service's page."""

import shutil

import picture
import pytest
from PIL import Image

from hybridvae.errors import HybridVAEError


def test_the_picture_shows_two_lists_and_is_small(done, tmp_path):
    if not any(map(shutil.which, picture._BROWSERS)):
        pytest.skip("there is no Chromium on this machine")
    path = tmp_path / "page.png"
    said = done.run(
        *("python", "benchmarks/picture.py", "guitar 3", "kettle 14", "--compared", "itemknn"), "--output", str(path)
    )
    assert f"wrote {path}" in said
    with Image.open(path) as image:
        assert image.width == picture.WIDTH and image.height > 700 and image.mode == "P"
    assert path.stat().st_size < 60_000
    said = done.run("python", "benchmarks/picture.py", "no such title", "--output", str(path), fails=True)
    assert "picture: the page found nothing for 'no such title'" in said and "Traceback" not in said


def test_without_a_browser_the_picture_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HybridVAEError, match=r"there is no Chromium here .*: install it"):
        picture.find_browser()
