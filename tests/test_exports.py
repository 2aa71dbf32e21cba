"""What `import hybridvae` gives, and what it does not make one wait for."""

import subprocess
import sys

import pytest

import hybridvae


@pytest.mark.parametrize("name", hybridvae.__all__)
def test_every_exported_name_can_be_had(name):
    assert callable(getattr(hybridvae, name)) and name in dir(hybridvae)


def test_names_are_exported():
    assert {"Interactions", "create", "judge", "load_model", "top_k"} <= set(hybridvae.__all__)


def test_the_import_alone_reads_no_heavy_library():
    code = "import sys, hybridvae; print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="No hybridvae attribute magic"):
        _ = hybridvae.magic
