"""What is promised about files, faults, inputs, memory and answers, and how often it was tried.

    python benchmarks/reliability.py [--budget small|full|SECONDS] [--only files,peers,...] [--random-state 0]
        [--jobs CORES] [--output FILE.json]

A full budget tries at least 100,000 damaged files, 1,000 kills, 1,000 full disks and, within an hour, 1,000,000
malformed inputs; a small one tries a twentieth, and a number of seconds scales the full one to about as many. Files of
other libraries get fewer tries, which are printed with them. The status is 1 if a promise is broken. POSIX only, and
`memory` Linux only.

Parts are `files`, `peers` (damaged files of other libraries), `kills`, `disks`, `readers`, `inputs` (malformed ones),
`memory` (ceilings), `determinism`, `exactness` and `checks` (of estimators). `memory` writes up to 800 MB into the
folder of temporary files, which `TMPDIR` names. `inputs` and `checks` need pytest, and the tests beside this folder.
"""

import argparse
import json
import os
import platform
import sys
import time

import _reliability_answers as answers
import _reliability_crashes as crashes
import _reliability_files as files
import _reliability_memory as memory
import _reliability_suites as suites

FULL = {
    "files": 102_000,
    "peers": 300,
    "kills": 500,
    "peer kills": 20,
    "disks": 500,
    "peer disks": 50,
    "readers": 20.0,
    "inputs": 1_000_000,
    "ceilings": len(memory.CEILINGS),
    "mapped codes": 100_000_000,
}
# Seconds of one core that each part takes whatever the budget, and those that a full run adds. Only `inputs` uses more
# cores than one.
SECONDS = {
    "files": (3, 200),
    "peers": (2, 80),
    "kills": (3, 140),
    "disks": (3, 20),
    "readers": (5, 15),
    "inputs": (25, 1900),
    "memory": (100, 1500),
    "determinism": (20, 0),
    "exactness": (17, 0),
    "checks": (290, 0),
}
PARTS = tuple(SECONDS)
# After which a full run tries no more inputs.
SECONDS_OF_INPUTS = 3600
SHARES = {"small": 0.05, "full": 1.0}


class Promises:
    """The table, line by line."""

    def __init__(self):
        self.rows, self.details = [], {}

    def add(self, claim, tried, broken, figure, seconds):
        self.rows.append({"claim": claim, "tried": tried, "broken": broken, "figure": figure, "seconds": seconds})

    def print(self):
        print(f"\n{'promise':<52}{'tried':>10}  {'found':<64}{'time':>7}")
        for row in self.rows:
            verdict = "BROKEN" if row["broken"] else "kept"
            print(f"{row['claim']:<52}{row['tried']:>10,}  {row['figure']:<57}{verdict:<7}{row['seconds']:>5.0f} s")


def damaged_files(promises, n, random_state):
    """Damage files of skhash, as many of each fault."""
    start, rows = time.perf_counter(), {}
    silent = dict.fromkeys(("crashes", "accepted with other answers", "other errors", "repaired"), 0)
    n_files = 0
    heading = f"{'skhash':<20}{'fault':<16}{'files':>8}" + "".join(f"{name:>12}" for name in files.OUTCOMES)
    print(f"{heading}   of each way to open")
    for kind, share in files.own_kinds().items():
        for fault in files.FAULTS:
            n_tries = max(20, round(n * share / len(files.FAULTS)))
            ways = files.try_files(kind, fault, n_tries, random_state=random_state)
            total = files.Counts()
            for counts in ways.values():
                total.add(counts)
            n_files += next(iter(ways.values())).tried
            rows[f"{kind.name}, {fault}"] = {way: vars(counts) for way, counts in ways.items()}
            numbers = "".join(f"{getattr(total, name):>12,}" for name in files.OUTCOMES)
            print(f"{kind.name:<20}{fault:<16}{n_tries:>8,}{numbers}", *total.notes[:1], flush=True)
            silent["crashes"] += total.crashed + total.hung
            silent["other errors"] += total.unexpected
            silent["accepted with other answers"] += total.wrong
            # The log keeps two copies of one number, so that one of them may be lost.
            is_repaired = fault == "hostile sizes" or kind.beside is not None
            silent["repaired" if is_repaired else "accepted with other answers"] += total.same
    promises.details["files"] = rows
    repaired = silent.pop("repaired")
    figure = ", ".join(f"{count} {name}" for name, count in silent.items())
    promises.details["repaired"] = repaired
    promises.add("damaged and hostile files", n_files, sum(silent.values()), figure, time.perf_counter() - start)
    print(f"{repaired:,} openings had the answers of the sound file all the same (copies of a number in the log)")


def damaged_files_of_peers(promises, n, random_state):
    """Damage files of other libraries in the same ways."""
    rows = {}
    print(f"\n{'others':<20}{'fault':<16}{'files':>8}" + "".join(f"{name:>12}" for name in files.OUTCOMES))
    for kind in files.peer_kinds():
        for fault in files.FAULTS:
            (counts,) = files.try_files(kind, fault, n, random_state=random_state).values()
            rows[f"{kind.name}, {fault}"] = vars(counts)
            numbers = "".join(f"{getattr(counts, name):>12,}" for name in files.OUTCOMES)
            print(f"{kind.name:<20}{fault:<16}{counts.tried:>8,}{numbers}", flush=True)
    promises.details["peers"] = rows


def _print_tallies(title, tallies):
    print(f"\n{title:<36}{'tried':>8}{'struck':>8}{'lost':>8}{'wrong':>8}{'left behind':>13}{'for good':>10}")
    for name, tally in tallies.items():
        numbers = f"{tally.tried:>8,}{tally.struck:>8,}{tally.lost:>8,}{tally.wrong:>8,}"
        print(f"{name:<36}{numbers}{tally.left_behind:>13,}{tally.left_for_good:>10,}")


def _add_tallies(promises, claim, tallies, seconds):
    own = [tally for name, tally in tallies.items() if name.startswith("skhash")]
    lost, wrong = sum(tally.lost for tally in own), sum(tally.wrong for tally in own)
    promises.add(claim, sum(tally.struck for tally in own), lost + wrong, f"{lost} lost, {wrong} wrong", seconds)
    promises.details[claim] = {name: vars(tally) for name, tally in tallies.items()}


def kills(promises, n, n_others, random_state):
    """Kill writers."""
    start = time.perf_counter()
    tallies = crashes.sigkill_during_save(n, n_others=n_others, random_state=random_state)
    tallies |= crashes.sigkill_during_append(n, random_state=random_state)
    _print_tallies("killed while writing", tallies)
    _add_tallies(promises, "SIGKILL during save and append", tallies, time.perf_counter() - start)


def disks(promises, n, n_others, random_state):
    """Fill disks."""
    start = time.perf_counter()
    tallies = crashes.full_disk(n, n_others=n_others, random_state=random_state)
    _print_tallies("disk full while writing", tallies)
    _add_tallies(promises, "full disk during save and append", tallies, time.perf_counter() - start)


def readers(promises, seconds):
    """Read while another writes."""
    start = time.perf_counter()
    tallies = crashes.readers_during_writes(seconds)
    _print_tallies("reads during writes", tallies)
    broken = sum(tally.lost + tally.wrong for tally in tallies.values())
    tried = sum(tally.tried for tally in tallies.values())
    promises.details["readers"] = {name: vars(tally) for name, tally in tallies.items()}
    promises.add(
        "8 threads and 8 processes read during writes",
        tried,
        broken,
        f"{broken} wrong answers or errors",
        time.perf_counter() - start,
    )


def agreements(promises, claim, function):
    """Compare answers."""
    start = time.perf_counter()
    found = function()
    for note in found.notes[:10]:
        print(f"different: {note}")
    promises.details[claim] = vars(found)
    promises.add(claim, found.tried, found.different, f"{found.different} different", time.perf_counter() - start)


def malformed_inputs(promises, n, *, jobs, seconds, random_state):
    """Pass what no caller should."""
    start = time.perf_counter()
    report = suites.malformed_inputs(n, jobs=jobs, seconds=seconds, random_state=random_state)
    found = report["n_unexpected"]
    figure = f"{found} unexpected, of which {report['n_crashes']} crashes and {report['n_hangs']} hangs"
    promises.details["inputs"] = report
    promises.add("malformed inputs", report["n_tried"], found, figure, time.perf_counter() - start)


def ceilings(promises, n, share, random_state):
    """Hold calls to the memory that the documentation says they take."""
    start, rows, broken = time.perf_counter(), {}, 0
    print(f"\n{'call':<44}{'beside, MB':>12}{'ceiling, MB':>13}")
    for name, measured in memory.ceilings(n, share, random_state=random_state):
        rows[name], problem = measured, memory.what_broke(measured)
        broken += problem is not None
        numbers = "".join(f"{measured.get(key, 0) / 1e6:>12,.0f} " for key in ("beside", "ceiling"))
        print(f"{name:<44}{numbers}", problem or "", flush=True)
    promises.details["ceilings"] = rows
    promises.add("ceilings of memory", len(rows), broken, f"{broken} exceeded", time.perf_counter() - start)


def mapped_codes(promises, n):
    """Search codes that stay in their file."""
    start = time.perf_counter()
    measured = memory.search_of_map(n)
    problem = memory.what_broke(measured)
    figure = problem or (
        f"at most {measured['beside'] / 1e6:,.0f} MB beside them, the process {measured['process'] / 1e6:,.0f} MB"
    )
    promises.details["mapped codes"] = measured
    claim = f"mapped codes searched with < {memory.memory_ceilings.BESIDE_A_MAP / 1e6:.0f} MB beside them"
    promises.add(claim, n, int(problem is not None), figure, time.perf_counter() - start)


def estimator_checks(promises):
    """Run the checks of scikit-learn and of our own contract."""
    start = time.perf_counter()
    found, names = suites.estimator_checks()
    unchecked = sorted(names - found.estimators)
    print(f"\n{found.run:,} checks of {len(names) - len(unchecked)} of {len(names)} public estimators")
    for heading, lines in (
        ("failed", found.failed),
        ("without a check", unchecked),
        ("expected to fail", [f"{count} times: {reason}" for reason, count in found.expected_to_fail.most_common()]),
        ("skipped", [f"{count} times: {reason}" for reason, count in found.skipped.most_common()]),
    ):
        for line in lines:
            print(f"{heading}: {line}")
    promises.details["checks"] = {**vars(found), "estimators": sorted(found.estimators), "unchecked": unchecked}
    figure = (
        f"{len(found.failed)} failed, {found.expected_to_fail.total()} expected to fail, {len(unchecked)} unchecked"
    )
    broken = len(found.failed) + len(unchecked)
    promises.add(f"checks of {len(names)} estimators", found.run, broken, figure, time.perf_counter() - start)


def budget(text):
    """Read a budget: small, full, or seconds."""
    if text in SHARES:
        return text
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is neither small, full nor a number of seconds")
    return seconds


def share_of_full(budget, parts, jobs):
    """Find the share of the full numbers that a budget is for; 0, for the least of everything, if it is too short."""
    if budget in SHARES:
        return SHARES[budget]
    always = sum(SECONDS[part][0] for part in parts)
    full = sum(SECONDS[part][1] / (jobs if part == "inputs" else 1) for part in parts)
    return max(0.0, budget - always) / full if full else 0.0


def parts(text):
    found = text.split(",")
    if not set(found) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"parts are {', '.join(PARTS)}; got {text!r}")
    return found


def main():
    n_cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=budget, default="small", help="small, full or seconds (default: small)")
    parser.add_argument("--only", type=parts, default=list(PARTS), help="parts, separated by commas (default: all)")
    parser.add_argument("--random-state", type=int, default=0, help="seed (default: 0)")
    parser.add_argument("--jobs", type=int, default=n_cores, help="processes of `inputs` (default: all cores)")
    parser.add_argument("--output", help="JSON to write")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    share = share_of_full(options.budget, options.only, options.jobs)
    seed, promises = options.random_state, Promises()

    def scaled(name, least):
        return max(least, round(FULL[name] * share))

    n_mapped = min(FULL["mapped codes"], scaled("mapped codes", 2_000_000))
    if "memory" in options.only and (missing := memory.missing_room(n_mapped, share)):
        parser.error(f"no room for the files of `memory`: {missing / 1e6:,.0f} MB more needed; set TMPDIR or --only")
    print(f"{platform.platform()}, Python {platform.python_version()}, {n_cores} cores\n")
    for part in options.only:
        if part == "files":
            damaged_files(promises, scaled("files", 720), seed)
        elif part == "peers":
            damaged_files_of_peers(promises, scaled("peers", 10), seed)
        elif part == "kills":
            kills(promises, scaled("kills", 5), scaled("peer kills", 3), seed)
        elif part == "disks":
            disks(promises, scaled("disks", 5), scaled("peer disks", 3), seed)
        elif part == "readers":
            readers(promises, max(5.0, FULL["readers"] * share))
        elif part == "inputs":
            seconds = SECONDS_OF_INPUTS * max(share, 0.05)
            malformed_inputs(promises, scaled("inputs", 10_000), jobs=options.jobs, seconds=seconds, random_state=seed)
        elif part == "memory":
            ceilings(promises, scaled("ceilings", 6), share, seed)
            mapped_codes(promises, n_mapped)
        elif part == "determinism":
            agreements(promises, "same codes over threads, batches, orders, files", answers.determinism)
        elif part == "exactness":
            agreements(promises, "searches equal a naive one, ties included", answers.exactness)
        else:
            estimator_checks(promises)
    promises.print()
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump({"promises": promises.rows, "details": promises.details}, file, indent=1)
    return int(any(row["broken"] for row in promises.rows))


if __name__ == "__main__":
    sys.exit(main())
