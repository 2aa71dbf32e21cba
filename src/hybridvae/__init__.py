"""HybridVAE: collaborative filtering joined with the meaning of item text.

But for `experiments/`, the package knows nothing of DVC or of params.yaml: the scripts in
`stages/` bring those together.
"""

__version__ = "0.1.0"
