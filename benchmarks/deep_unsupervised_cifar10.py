"""Mean average precision of every deep loss without labels on CIFAR-10 features, beside ITQ.

    python benchmarks/deep_unsupervised_cifar10.py FEATURES.npz --output RUN.jsonl [--seeds 1] [--losses ssdh tbh]

The split and the file are those of `deep_cifar10.py`. Every loss has the same budget: three learning rates for each of
two heads, at one code length and for ten epochs. One fifth of the training rows is held out; the setting with the
highest mean average precision of these rows among themselves trains on all training rows, at every code length. Labels
of held-out rows choose between settings; no loss sees any.
"""

import argparse
import itertools
import platform
import time

import numpy as np
import torch
from deep_cifar10 import Run, drop_incomplete_line, make_split, measure, report, say
from shallow_cifar10 import load

import skhash
from skhash import ITQ, PCAH, DeepUnsupervisedHasher
from skhash.deep.losses import UNSUPERVISED_LOSSES
from skhash.metrics import mean_average_precision

LEARNING_RATES = (0.0001, 0.0003, 0.001)
NETWORKS = ("linear", "mlp")
BASELINES = {
    "ITQ": lambda n_bits, seed: ITQ(n_bits, random_state=seed),
    "PCAH, random rotation": lambda n_bits, seed: PCAH(n_bits, rotation="random", random_state=seed),
}


def hasher(task, epochs):
    return DeepUnsupervisedHasher(
        task["n_bits"],
        loss=task["method"],
        network=task["network"],
        lr=task["lr"],
        max_epochs=epochs,
        random_state=task["seed"],
    )


def choose(run, common, X, y, epochs):
    """Find the best setting of a loss on held-out training rows."""
    rows = np.random.default_rng(common["seed"]).permutation(len(X))
    held_out, kept = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    best = None
    for network, lr in itertools.product(NETWORKS, LEARNING_RATES):
        setting = {"network": network, "lr": lr, "lr_schedule": None}
        task = {**common, **setting}

        def train(task=task):
            start = time.perf_counter()
            codes = hasher(task, epochs).fit(X[kept]).transform(X[held_out])
            score = mean_average_precision(codes, None, y[held_out])
            return {"validation_map": score, "seconds": time.perf_counter() - start}

        score = run.get({"kind": "tuning", "epochs": epochs, **task}, train)["validation_map"]
        say(f"seed {task['seed']} {task['method']} {network} {lr:g}: validation {score:.4f}")
        if best is None or score > best[0]:
            best = score, setting
    return best[1]


def run_method(run, method, seed, X, y, arguments):
    split = make_split(y, seed)
    X_train, y_train = X[split.train], y[split.train]
    setting, common = {}, {"method": method, "seed": seed, "split": split.split_hash}
    if method not in BASELINES:
        setting = choose(run, {**common, "n_bits": arguments.tune_bits}, X_train, y_train, arguments.epochs)
    for n_bits in arguments.bits:
        task = {**common, **setting, "n_bits": n_bits}

        def train(task=task):
            is_deep = method not in BASELINES
            model = hasher(task, arguments.epochs) if is_deep else BASELINES[method](task["n_bits"], seed)
            return measure(lambda: model.fit(X_train), model.transform, X, y, split)

        row = run.get({"kind": "result", "epochs": arguments.epochs, **task}, train)
        say(f"seed {seed} {method} {n_bits} bits: mAP {row['map']:.4f} in {row['fit_seconds']:.1f} s")


def main():
    names = sorted(UNSUPERVISED_LOSSES)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="path of the .npz file with the features")
    parser.add_argument("--output", required=True, help="file of JSON lines; a stopped run goes on with it")
    parser.add_argument("--seeds", type=int, default=1, help="number of splits (default: 1)")
    parser.add_argument("--losses", nargs="*", choices=names, default=names, metavar="NAME", help="default: all")
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64], help="code lengths (default: 16 32 64)")
    parser.add_argument("--tune-bits", type=int, default=32, help="code length of the tuning (default: 32)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of a training (default: 10)")
    parser.add_argument("--rst", action="store_true", help="print the table for Sphinx instead of Markdown")
    arguments = parser.parse_args()
    drop_incomplete_line(arguments.output)
    run = Run(arguments.output)
    versions = {"skhash": skhash.__version__, "torch": torch.__version__, "python": platform.python_version()}
    run.get({"kind": "versions", **versions}, dict)
    X, y = load(arguments.features)
    for seed, method in itertools.product(range(arguments.seeds), [*BASELINES, *arguments.losses]):
        run_method(run, method, seed, X, y, arguments)
    report(run.rows.values(), arguments.bits, rst=arguments.rst)


if __name__ == "__main__":
    main()
