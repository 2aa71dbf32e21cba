"""Files: named arrays, what killed processes leave, the cache folder."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from hybridvae.errors import UnreadableFileError
from hybridvae.files import cache_folder, read_arrays, read_json, write_arrays, write_text


def test_arrays_come_back_however_they_lie_in_memory(tmp_path):
    rows = np.arange(12, dtype=np.int32).reshape(3, 4)
    arrays = {"turned": rows.T, "every other": rows[:, ::2], "number": np.array(7), "none": rows[:0]}
    write_arrays(tmp_path / "arrays.safetensors", arrays)
    back = read_arrays(tmp_path / "arrays.safetensors")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["arrays.safetensors"]


def test_what_a_killed_process_left_is_removed_an_hour_later(tmp_path):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, living = int(gone.stdout), os.getppid()
    for name, owner, age in (("a", dead, 3700), ("a", living, 3700), ("b", dead, 3700), ("[a]", dead, 3700)):
        left = tmp_path / f".{name}.{owner}.partial"
        left.touch()
        os.utime(left, (time.time() - age, time.time() - age))
    (tmp_path / ".a.1.2.partial").touch()
    write_text(tmp_path / "a", "")
    write_text(tmp_path / "[a]", "")
    kept = {"a", "[a]", f".a.{living}.partial", f".b.{dead}.partial", ".a.1.2.partial"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    (tmp_path / f".a.{dead}.partial").touch()  # it may be of a process on another machine
    write_text(tmp_path / "a", "")
    assert (tmp_path / f".a.{dead}.partial").exists()


def test_the_cache_is_a_folder_or_said_to_be_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRIDVAE_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    (tmp_path / "cache").touch()
    with pytest.raises(UnreadableFileError, match=r"cache is a file: set HYBRIDVAE_CACHE to a folder\."):
        cache_folder()


def test_arrays_come_back_as_they_were_and_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "arrays.safetensors"
    arrays = {"vectors": np.arange(12, dtype=np.float32).reshape(3, 4), "part": np.array(2), "none": np.empty((0, 4))}
    write_arrays(path, arrays)
    found = read_arrays(path)
    assert found.keys() == arrays.keys() and all(np.array_equal(found[name], arrays[name]) for name in arrays)
    first = path.read_bytes()
    write_arrays(path, dict(reversed(arrays.items())))
    assert read_arrays(path).keys() == arrays.keys()
    for place in (len(first) - 1, len(first) - 30, 4, 60):  # of the numbers and of the header
        spoilt = bytearray(first)
        spoilt[place] ^= 1
        path.write_bytes(spoilt)
        with pytest.raises(UnreadableFileError, match=r"arrays\.safetensors cannot be read"):
            read_arrays(path)
    save_file(arrays, path)  # as another program writes it
    with pytest.raises(UnreadableFileError, match="do not have the hash"):
        read_arrays(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"x"', "it is no JSON object"),
        ("[]", "it is no JSON object"),
        ('{"full": 1}', "it has no sampled"),
        ("{", "Exp"),
    ],
)
def test_json_of_another_shape_is_named(tmp_path, text, reason):
    path = tmp_path / "ease.json"
    path.write_text(text)
    with pytest.raises(UnreadableFileError, match=rf"ease\.json cannot be read \({reason}"):
        read_json(path, "full", "sampled")
    path.write_text('{"sampled": 2, "full": 1}')
    assert read_json(path, "full", "sampled") == {"sampled": 2, "full": 1}
