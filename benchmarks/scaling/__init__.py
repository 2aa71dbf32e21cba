"""What `scale.py` measures: a file for works that need the same of the library, each a function of its sizes.

A function is called in a process of its own with the folder for data in between, and returns its `seconds` and what
else it found. What the file imports counts in the memory of that process, so that no file imports more than it needs.
"""
