"""How is DVC used: trials are queued and kept, a grid's winner is chosen, experiments are put side by side.

With `repository.py` the only part of the library that calls DVC; `reporting/html.py`, `service/` and the command line
know the folders of the repository too.
"""
