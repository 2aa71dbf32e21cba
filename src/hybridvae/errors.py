"""The one error that users are meant to read."""


class HybridVAEError(Exception):
    """A mistake in the input, the parameters or the environment.

    The message is one clear sentence: what is wrong, where, and what to do about it. The stage
    scripts and the command line print it without a traceback.
    """
