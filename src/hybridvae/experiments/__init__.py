"""Around DVC's experiments: a grid is queued, its winner chosen, and experiments are put side by side.

The only part of the library that knows of DVC, of `params.yaml` and of the repository's folders.
"""
