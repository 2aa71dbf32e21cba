"""The parts of `make torture`: each tries to break one side of the product, case by case, from one seed.

A part has a function `run(cases, seed, work)` that yields each case's number with what came of it. What a case does
follows from the seed and its number alone, but for the moments at which processes are killed.
"""
