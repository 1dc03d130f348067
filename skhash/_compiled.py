"""Loops that numba compiles: when they are worth the wait, and how they are kept on disk."""

from importlib.util import find_spec

# What it takes to have compiled loops where this process has none yet: from half a second, when numba is loaded and has
# them in its cache on disk, to eight, when it compiles them for the first time on a machine.
SECONDS_TO_COMPILE = 3.0


class BreakEven:
    """When compiled loops for some kind of work begin to pay: once NumPy has been busy for as long as compiling takes.

    Small work never waits for the compiler, and much small work waits for it once: at worst, about twice the time of
    the better choice passes.
    """

    def __init__(self):
        self._numpy_seconds = 0.0

    def is_reached(self, numpy_seconds):
        """Say whether to compile now, before work that would take NumPy so many seconds."""
        self._numpy_seconds += numpy_seconds
        return self._numpy_seconds >= SECONDS_TO_COMPILE and find_spec("numba") is not None


def entry_jit(function):
    """Compile a function that Python calls, and keep the code, with that of all it calls, on disk."""
    from numba import njit

    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        # No folder for the code can be written: every process compiles for itself.
        return njit(nogil=True, error_model="numpy")(function)
