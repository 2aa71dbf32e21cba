"""How is DVC used: trials are queued and kept, a grid's winner is chosen, experiments are put side by side.

Only this room and `repository.py` call DVC. `reporting/html.py`, `service/` and the command line also know the folders
of the repository.
"""
