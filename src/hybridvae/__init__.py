"""HybridVAE: collaborative filtering joined with the meaning of item text.

But for `experiments/` and `service/`, the package knows nothing of DVC or of params.yaml: the scripts in
`stages/` bring those together.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hybridvae.recommending import Recommendations

__version__ = "0.1.0"


def load_model(folder: Path | str, *, device: str = "auto") -> "Recommendations":
    """The model in a folder that `train` wrote, with the names of its items: `load_model(folder).recommend([...])`.

    Raises:
        HybridVAEError: the folder holds no checkpoint.
    """
    from hybridvae.recommending import Recommendations  # takes torch: late, for those who want the table alone

    return Recommendations.load(folder, device=device)
