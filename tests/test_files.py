"""Files: named arrays."""

import numpy as np
from safetensors.numpy import load_file

from hybridvae.files import write_arrays


def test_arrays_come_back_however_they_lie_in_memory(tmp_path):
    rows = np.arange(12, dtype=np.int32).reshape(3, 4)
    arrays = {"turned": rows.T, "every other": rows[:, ::2], "number": np.array(7), "none": rows[:0]}
    write_arrays(tmp_path / "arrays.safetensors", arrays)
    back = load_file(tmp_path / "arrays.safetensors")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["arrays.safetensors"]
