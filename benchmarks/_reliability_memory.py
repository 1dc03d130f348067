"""Ceilings of memory that the documentation states, and searches of memory maps that are larger than what they may use.

The cases and how they are measured are those of `memory_ceilings.py`.
"""

import shutil

import memory_ceilings
import numpy as np

FIRST_SEARCHES = "search map first"
CEILINGS = tuple(name for name in memory_ceilings.CASES if name != FIRST_SEARCHES)
# The sizes at which constant terms no longer hide those that grow; a smaller run has to do with less.
FEWEST = {"rows": 20_000, "codes": 1_000_000}
CODE_BITS_OF_MAP = 64


def sizes_of_ceilings(share):
    """Sizes of features and codes, of which a share of the full ones is wanted."""
    sizes = memory_ceilings.options().parse_args([])
    for name, fewest in FEWEST.items():
        full = getattr(sizes, name)
        setattr(sizes, name, min(full, max(fewest, round(full * share))))
    return sizes


def sizes_of_map(n_codes):
    """Sizes of the search of so many codes."""
    return memory_ceilings.options().parse_args([f"--codes={n_codes}", f"--code-bits={CODE_BITS_OF_MAP}"])


def missing_room(n_codes, share):
    """Bytes that the folder of temporary files lacks for the files of a run; 0 if there is room."""
    sizes, largest = sizes_of_ceilings(share), sizes_of_map(n_codes)
    ceilings = 4 * sizes.rows * sizes.features + sizes.codes * sizes.code_bits // 8
    needed = max(ceilings, largest.codes * largest.code_bits // 8)
    return max(0, needed - shutil.disk_usage(sizes.folder).free)


def ceilings(n_cases, share, *, random_state):
    """Yield the name of each of so many cases with what was measured, drawn where these are not all of them."""
    drawn = np.random.default_rng(random_state).permutation(len(CEILINGS))[:n_cases]
    yield from memory_ceilings.measurements(sizes_of_ceilings(share), [CEILINGS[case] for case in sorted(drawn)])


def search_of_map(n_codes):
    """Measure the first searches of so many codes in a file."""
    ((_, measured),) = memory_ceilings.measurements(sizes_of_map(n_codes), [FIRST_SEARCHES])
    return measured


def what_broke(measured):
    """Say what is wrong with what was measured, or None."""
    if "error" in measured:
        return measured["error"]
    if measured["held"] != "yes":
        return f"needs more than its ceiling: {measured['held']}"
    if measured["beside"] > measured["ceiling"]:
        return f"used {measured['beside']:,} bytes, more than its ceiling of {measured['ceiling']:,}"
    return None
