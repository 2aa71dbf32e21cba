"""HybridVAE: collaborative filtering joined with the meaning of item text.

What a notebook needs is exported here; `__init__.pyi` lists it. A name is imported when it is first used, because torch
alone takes seconds to import. Modules in the package import from one another, never from this file.

The rooms, each of which imports only from those before it: `data` (where do data come from), `models` (what is a
model), `evaluation` (how is it judged), `reporting` (what is written about it), `experiments` (how is DVC used) and
`service` (how is it served). Of the files beside them `checkpoint.py` and `recommendations.py` come after
`evaluation`, `__main__.py` comes last, and the others come before `data`.
"""

import lazy_loader

__version__ = "0.2.0.dev0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
