"""HybridVAE: collaborative filtering joined with the meaning of item text.

The package knows nothing of DVC, of the repository's paths or of params.yaml: the scripts in
`stages/` bring those together.
"""

__version__ = "0.1.0"
