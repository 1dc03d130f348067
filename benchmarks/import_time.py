"""What `import skhash` costs beyond `import sklearn.base`, in fresh processes that take turns.

python benchmarks/import_time.py [--rounds 15]
"""

import argparse
import statistics
import subprocess
import sys

COMMANDS = {"sklearn.base": "import sklearn.base", "skhash": "import skhash"}
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="processes of each (default: 15)")
    arguments = parser.parse_args()
    seconds = {name: [] for name in COMMANDS}
    for _ in range(arguments.rounds):
        for name, command in COMMANDS.items():
            done = subprocess.run(
                [sys.executable, "-c", TIMED.format(command)], capture_output=True, text=True, check=True
            )
            seconds[name].append(float(done.stdout))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"import {name:<14}{median:.3f} s")
    print(f"difference           {medians['skhash'] - medians['sklearn.base']:.3f} s")


if __name__ == "__main__":
    main()
