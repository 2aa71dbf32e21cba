"""HybridVAE: collaborative filtering joined with the meaning of item text.

What a notebook needs is exported here (`__init__.pyi` lists it), and read when it is first asked for: torch takes
seconds, which somebody who wants a table alone need not wait.

The rooms, each of which imports only from those before it: `data` (where do data come from), `models` (what is a
model), `evaluation` (how is it judged), `reporting` (what is written about it), `experiments` (how is DVC used) and
`service` (how is it served). Beside them lie the few files that several rooms use.
"""

import lazy_loader

__version__ = "0.2.0.dev0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
