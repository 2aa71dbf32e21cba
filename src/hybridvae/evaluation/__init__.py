"""How is a model judged: ranks, intervals, slices, tests of one model against another."""
