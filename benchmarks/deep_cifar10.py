"""Mean average precision of every supervised deep loss on CIFAR-10 features, in the protocol of the literature.

    python benchmarks/deep_cifar10.py FEATURES.npz --output RUN.jsonl [--seeds 1] [--losses csq dch] [--n-jobs 2]

FEATURES.npz holds `f_train` (50000, d), `y_train`, `f_test` (10000, d), `y_test`. For each seed, 100 images of each
class become queries, 500 others training images, and the remaining 54 000 the database, which the network hashes as it
hashes queries.

Every loss has the same budget. One fifth of the training rows is held out, and one setting after the other is trained
on the rest, at one code length: three constant learning rates, the best of them along a cosine, and two more values of
the loss's main weight. A constant rate stops after the best epoch. The setting with the highest mean average precision
of the held-out rows among themselves trains on all training rows, at every code length.

Beside them stand two shallow hashers and a logistic regression, regularized by the same held-out share, whose code for
an image is a single 1 at the class it predicts.

Each training adds a line to RUN.jsonl; a run that was stopped goes on where it was. The table is made of all its lines.
"""

import argparse
import inspect
import platform
import statistics
import sys
import time

import numpy as np
import torch
from _runs import Run, drop_incomplete_line
from joblib import Parallel, delayed
from shallow_cifar10 import load
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skhash
from skhash import ITQ, PCAH, DeepSupervisedHasher
from skhash.codes import pack_bits
from skhash.datasets import retrieval_split
from skhash.deep.losses import LOSSES
from skhash.metrics import mean_average_precision

LEARNING_RATES = (0.0003, 0.001, 0.003)

# The weight that the paper of a loss tunes, and what is tried beside its default. A loss without one is not listed.
MAIN_WEIGHTS = {
    "adsh": ("gamma", (20.0, 2000.0)),
    "bihalf": ("gamma", (1.0, 30.0)),
    "csq": ("lam", (0.01, 0.1)),
    "dch": ("gamma", (5.0, 50.0)),
    "dfh": ("margin", (0.0, 6.0)),
    "dhn": ("lam", (0.01, 1.0)),
    "dpn": ("margin", (0.5, 2.0)),
    "dpsh": ("eta", (1.0, 100.0)),
    "dsdh": ("eta", (5.0, 500.0)),
    "dsh": ("alpha", (0.001, 0.1)),
    "dtsh": ("lam", (0.1, 10.0)),
    "greedyhash": ("alpha", (0.01, 1.0)),
    "hashnet": ("alpha", (0.1, 1.0)),
    "jmlh": ("lam", (0.001, 0.01)),
    # Pairs with this weight would not begin in a training as short as this.
    "mdsh": ("pairs_from", (0, 4)),
    "mihash": ("slope", (0.5, 4.0)),
    "nested": ("lam", (3.0, 0.3)),
    "orthohash": ("margin", (0.3, 0.5)),
}

ONE_HOT = "classifier, one-hot"
BASELINES = ("PCAH, random rotation", "ITQ", ONE_HOT)


def say(message):
    print(message, file=sys.stderr, flush=True)


def hasher(task, *, max_epochs, validation_fraction):
    loss = LOSSES[task["method"]](**task["weight"])
    return DeepSupervisedHasher(
        task["n_bits"],
        loss=loss,
        max_epochs=max_epochs,
        lr=task["lr"],
        lr_schedule=task["lr_schedule"],
        validation_fraction=validation_fraction,
        early_stopping=None,
        random_state=task["seed"],
    )


def tune(run, task, X, y, epochs):
    """Train one setting, and note the mean average precision of the held-out rows after each epoch."""

    def train():
        start = time.perf_counter()
        fitted = hasher(task, max_epochs=epochs, validation_fraction=0.2).fit(X, y)
        curve = [round(float(score), 5) for score in fitted.net_.history[:, "valid_map"]]
        return {"validation_map": curve, "seconds": time.perf_counter() - start}

    curve = run.get({"kind": "tuning", "epochs": epochs, **task}, train)["validation_map"]
    # The last epochs of a cosine belong to it; a constant rate may stop anywhere.
    best = len(curve) - 1 if task["lr_schedule"] == "cosine" else int(np.argmax(curve))
    return curve[best], best + 1


def choose(run, method, seed, split_hash, X, y, tune_bits, epochs):
    """Find the best setting of a loss, and the number of epochs it needs."""
    common = {"method": method, "n_bits": tune_bits, "seed": seed, "split": split_hash}

    def score(setting):
        value, n_epochs = tune(run, {**common, **setting}, X, y, epochs)
        say(f"seed {seed} {method} {tune_bits} bits {setting}: validation {value:.4f} after {n_epochs} epochs")
        return value, n_epochs, setting

    def best_of(scored):
        return max(scored, key=lambda item: item[0])

    best = best_of([score({"lr": lr, "lr_schedule": None, "weight": {}}) for lr in LEARNING_RATES])
    best = best_of([best, score({**best[2], "lr_schedule": "cosine"})])
    if method in MAIN_WEIGHTS:
        name, values = MAIN_WEIGHTS[method]
        best = best_of([best, *(score({**best[2], "weight": {name: value}}) for value in values)])
    return best[2], best[1]


def measure(fit, transform, X, y, split):
    start = time.perf_counter()
    fit()
    seconds = time.perf_counter() - start
    queries, database = transform(X[split.query]), transform(X[split.database])
    score = mean_average_precision(queries, database, y[split.query], y[split.database])
    return {"map": score, "fit_seconds": seconds}


def run_loss(path, method, seed, X, y, arguments):
    run = Run(path)
    split = make_split(y, seed)
    X_train, y_train = X[split.train], y[split.train]
    setting, epochs = choose(
        run, method, seed, split.split_hash, X_train, y_train, arguments.tune_bits, arguments.epochs
    )
    for n_bits in arguments.bits:
        task = {"method": method, "n_bits": n_bits, "seed": seed, "split": split.split_hash, **setting}

        def train(task=task):
            model = hasher(task, max_epochs=epochs, validation_fraction=None)
            return measure(lambda: model.fit(X_train, y_train), model.transform, X, y, split)

        row = run.get({"kind": "result", "epochs": epochs, **task}, train)
        say(f"seed {seed} {method} {n_bits} bits: mAP {row['map']:.4f} in {row['fit_seconds']:.1f} s")


def run_baseline(path, method, seed, X, y, arguments):
    run = Run(path)
    split = make_split(y, seed)
    X_train, y_train = X[split.train], y[split.train]

    def one_hot():
        classes = np.unique(y)
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        search = GridSearchCV(
            classifier,
            {"logisticregression__C": [0.0001, 0.001, 0.01, 0.1]},
            cv=StratifiedShuffleSplit(1, test_size=0.2, random_state=seed),
        )

        def transform(rows):
            return pack_bits(search.predict(rows)[:, None] == classes)

        return measure(lambda: search.fit(X_train, y_train), transform, X, y, split)

    def shallow(n_bits):
        model = (
            ITQ(n_bits, random_state=seed) if method == "ITQ" else PCAH(n_bits, rotation="random", random_state=seed)
        )
        return measure(lambda: model.fit(X_train), model.transform, X, y, split)

    for n_bits in [len(np.unique(y))] if method == ONE_HOT else arguments.bits:
        task = {"kind": "result", "method": method, "n_bits": n_bits, "seed": seed, "split": split.split_hash}
        row = run.get(task, one_hot if method == ONE_HOT else lambda n_bits=n_bits: shallow(n_bits))
        say(f"seed {seed} {method} {n_bits} bits: mAP {row['map']:.4f} in {row['fit_seconds']:.1f} s")


def make_split(y, seed):
    return retrieval_split(y, n_queries_per_class=100, n_train_per_class=500, random_state=seed)


def summarize(rows, bits):
    """One list of cells a method, best first."""
    results = [row for row in rows if row["task"]["kind"] == "result"]
    table = []
    for method in dict.fromkeys(row["task"]["method"] for row in results):
        own = [row for row in results if row["task"]["method"] == method]
        lengths = sorted({row["task"]["n_bits"] for row in own})
        by_length = {n: [row["map"] for row in own if row["task"]["n_bits"] == n] for n in lengths}
        cells = []
        for n_bits in bits:
            # The length of a one-hot code is the number of classes.
            scores = by_length[lengths[0]] if method == ONE_HOT else by_length.get(n_bits, [])
            spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
            cells.append(f"{statistics.mean(scores):.3f}{spread}" if scores else "")
        seconds = statistics.median(row["fit_seconds"] for row in own)
        task = own[0]["task"]
        setting = "" if "lr" not in task else f"{task['lr']:g} {task['lr_schedule'] or 'constant'}, {task['epochs']}"
        if "network" in task:
            setting = f"{task['network']}, {setting}"
        if task.get("weight"):
            setting += "".join(f", {name} {value:g}" for name, value in task["weight"].items())
        order = statistics.mean(statistics.mean(scores) for scores in by_length.values())
        table.append((order, [method, *cells, f"{seconds:.1f}", setting]))
    return [cells for _, cells in sorted(table, key=lambda item: -item[0])]


def report(rows, bits, *, rst):
    header = ["method", *(f"{n_bits} bits" for n_bits in bits), "fit s", "rate, epochs, weight (first seed)"]
    table = summarize(rows, bits)
    if rst:
        print(".. list-table::\n   :header-rows: 1\n")
        for cells in [header, *table]:
            print("\n".join(f"   {'* -' if number == 0 else '  -'} {cell}" for number, cell in enumerate(cells)))
        return
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for cells in table:
        print("| " + " | ".join(cells) + " |")


def supervised_losses():
    """Names of the losses that are shown labels."""
    return sorted(name for name, loss in LOSSES.items() if "targets" in inspect.signature(loss.forward).parameters)


def main():
    names = supervised_losses()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="path of the .npz file with the features")
    parser.add_argument("--output", required=True, help="file of JSON lines; a stopped run goes on with it")
    parser.add_argument("--seeds", type=int, default=1, help="number of splits (default: 1)")
    parser.add_argument("--losses", nargs="*", choices=names, default=names, metavar="NAME", help="default: all")
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64], help="code lengths (default: 16 32 64)")
    parser.add_argument("--tune-bits", type=int, default=32, help="code length of the tuning (default: 32)")
    parser.add_argument("--epochs", type=int, default=8, help="longest training (default: 8)")
    parser.add_argument("--n-jobs", type=int, default=1, help="number of processes (default: 1)")
    parser.add_argument("--rst", action="store_true", help="print the table for Sphinx instead of Markdown")
    arguments = parser.parse_args()
    drop_incomplete_line(arguments.output)
    run = Run(arguments.output)
    versions = {"skhash": skhash.__version__, "torch": torch.__version__, "python": platform.python_version()}
    run.get({"kind": "versions", **versions}, dict)
    X, y = load(arguments.features)
    jobs = [
        delayed(run_baseline if method in BASELINES else run_loss)(arguments.output, method, seed, X, y, arguments)
        for seed in range(arguments.seeds)
        for method in (*BASELINES, *arguments.losses)
    ]
    Parallel(n_jobs=arguments.n_jobs)(jobs)
    report(Run(arguments.output).rows.values(), arguments.bits, rst=arguments.rst)


if __name__ == "__main__":
    main()
