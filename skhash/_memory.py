"""Errors in place of allocations that the machine cannot serve.

Linux promises memory that it does not have, and kills the process that comes to use it. So what is necessarily large is
compared with what is left before it is asked for: a lower bound of the need with an upper bound of the supply, lest
work is refused that could have been done. Elsewhere, where the system tells nothing, NumPy's own error has to do.
"""

import re
import sys
from pathlib import Path

# Smaller allocations are not checked: reading what is left takes longer than they do.
SMALLEST_CHECKED = 2**28
_MANY = 2**60


def check_allocation(name: str, n_bytes: int, what: str, fix: str) -> None:
    """Refuse to allocate more memory than is left.

    Parameters
    ----------
    name : str
        Whom to name in the error.

    n_bytes : int
        What will be allocated and written to at one time, at least.

    what : str
        What needs the memory, with its size.

    fix : str
        What to do instead.

    Raises
    ------
    MemoryError
        If less is left, in one line.
    """
    if n_bytes < SMALLEST_CHECKED:
        return
    available, limit = available_memory()
    if n_bytes > available:
        raise MemoryError(refusal(name, n_bytes, what, fix, available, limit))


def refusal(name: str, n_bytes: int, what: str, fix: str, available: int, limit: str) -> str:
    """Write the message of an error for memory that is not left.

    Parameters
    ----------
    name, n_bytes, what, fix
        As in `check_allocation`.

    available : int
        Bytes that are left.

    limit : str
        What leaves no more.

    Returns
    -------
    message : str
        One line.
    """
    message = (
        f"{name}: {in_words(n_bytes)} of memory needed for {what}, but {limit} leaves {in_words(available)}; {fix}."
    )
    # Parameters may be integers of hundreds of digits, and sizes their products.
    return re.sub(r"\d[\d,]{40,}(\.\d)?", lambda number: f"{number[0][:37]}...", message)


def in_words(n_bytes: int) -> str:
    """Write a number of bytes, like "1.5 GiB".

    Parameters
    ----------
    n_bytes : int
        How many.

    Returns
    -------
    text : str
        In the largest unit that leaves a number of at least 1.
    """
    for exponent, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB")):
        if n_bytes >= 2**exponent:
            # No float holds what an integer may ask for.
            return f"{min(n_bytes, 2**1000) / 2**exponent:,.1f} {unit}"
    return f"{n_bytes:,} bytes"


def available_memory() -> tuple[int, str]:
    """Find out how much this process may still allocate and use.

    Returns
    -------
    n_bytes : int
        The least of what the machine has left, what the control groups of the process allow, and its own limits of
        address space and data. More than any machine has where the system does not tell.

    limit : str
        Which of them that is.
    """
    if not sys.platform.startswith("linux"):
        return _MANY, "the system"
    status = _numbers("/proc/self/status")
    machine = _numbers("/proc/meminfo")
    limits = [(_MANY, "the system")]
    if "MemAvailable" in machine:
        limits.append((machine["MemAvailable"] + machine.get("SwapFree", 0), "the machine"))
    limits += [(n_bytes, "the control group (cgroup)") for n_bytes in _left_by_groups(machine.get("SwapFree", 0))]
    limits += _left_by_process(status)
    available, limit = min(limits, key=lambda pair: pair[0])
    return max(0, available), limit


def _left_by_process(status):
    import resource

    found = []
    for name, used in (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")):
        most = resource.getrlimit(getattr(resource, name))[0]
        if most != resource.RLIM_INFINITY and used in status:
            found.append((most - status[used], f"the limit of the process ({name})"))
    return found


def _left_by_groups(swap_free):
    """Yield what the group of this process, and each group around it, leaves."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _left_by_folders(Path("/sys/fs/cgroup"), path, swap_free, _left_by_second_version)
        elif "memory" in controllers.split(","):
            yield from _left_by_folders(Path("/sys/fs/cgroup/memory"), path, swap_free, _left_by_first_version)


def _left_by_folders(root, path, swap_free, left_by):
    # In a container, the path may be that of the host, of which only the root can be seen here.
    folder = root / path.lstrip("/")
    while True:
        left = left_by(folder, swap_free)
        if left is not None:
            yield left
        if folder == root or root not in folder.parents:
            return
        folder = folder.parent


def _left_by_second_version(folder, swap_free):
    most, used = _number(folder / "memory.max"), _number(folder / "memory.current")
    if most is None or used is None:
        return None
    statistics = _numbers(folder / "memory.stat", unit=1)
    # Pages of files are given back for the asking, as are the kernel's own caches of them.
    reclaimable = sum(statistics.get(key, 0) for key in ("active_file", "inactive_file", "slab_reclaimable"))
    most_swap, swap = _number(folder / "memory.swap.max"), _number(folder / "memory.swap.current")
    swap_left = swap_free if most_swap is None or swap is None else min(swap_free, max(0, most_swap - swap))
    return most - used + reclaimable + swap_left


def _left_by_first_version(folder, swap_free):
    most, used = _number(folder / "memory.limit_in_bytes"), _number(folder / "memory.usage_in_bytes")
    if most is None or used is None or most >= _MANY:
        return None
    statistics = _numbers(folder / "memory.stat", unit=1)
    return most - used + sum(statistics.get(f"total_{key}", 0) for key in ("active_file", "inactive_file")) + swap_free


def _number(path):
    """Read a file of one number; None where there is none, as for "max"."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdigit() else None


def _numbers(path, unit=1024):
    """Read a file of names and numbers, in bytes; nothing where there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            found[words[0].rstrip(":")] = unit * int(words[1])
    return found
