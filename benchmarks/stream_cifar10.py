"""Mean average precision while the images of CIFAR-10 arrive, of hashers that go on learning or start again.

    python benchmarks/stream_cifar10.py FEATURES.npz --output RUN.jsonl [--figure FILE.png] [--seeds 1]

FEATURES.npz holds `f_train` (50000, d), `y_train`, `f_test` (10000, d), `y_test`. The training images arrive in chunks,
either in random order or one class after the other. Queries are 100 test images of each class, the same all the time;
the database is the images that have arrived. Queries of a class without any yet are left out.

The name of a method says what becomes of the codes in the database:

- "all anew": after each chunk, all images are hashed again.
- "kept": an image is hashed once, when it arrives, by a hasher that has just learned from it. A hasher that learns from
  labels then knows the image better than later, so that kept codes can even win over new ones.
- "trigger": all are hashed again when the hasher says so, by a larger `n_updates_`.
- "refit": a new hasher is fitted to all images that have arrived, at each measurement only, and all are hashed again.

Each method in each order adds a line to RUN.jsonl; a run that was stopped goes on where it was. Figure and table are
made of all its lines.
"""

import argparse
import platform
import statistics
import sys
import time

import numpy as np
from _runs import Run, drop_incomplete_line

import skhash
from skhash import ITQ, MutualInformationHash, OnlineHadamardHash, SketchingHash
from skhash.metrics import mean_average_precision

# Name: what becomes of the codes, and the hasher.
METHODS = {
    "ITQ, refit": ("refit", lambda n_bits, seed: ITQ(n_bits, random_state=seed)),
    "ITQ, all anew": ("all anew", lambda n_bits, seed: ITQ(n_bits, random_state=seed)),
    "ITQ, kept": ("kept", lambda n_bits, seed: ITQ(n_bits, keep_hash_functions=True, random_state=seed)),
    "SketchingHash, all anew": (
        "all anew",
        lambda n_bits, seed: SketchingHash(n_bits, sketch_size=max(128, 2 * n_bits), random_state=seed),
    ),
    "OnlineHadamardHash, refit": ("refit", lambda n_bits, seed: OnlineHadamardHash(n_bits, random_state=seed)),
    "OnlineHadamardHash, all anew": ("all anew", lambda n_bits, seed: OnlineHadamardHash(n_bits, random_state=seed)),
    "OnlineHadamardHash, kept": ("kept", lambda n_bits, seed: OnlineHadamardHash(n_bits, random_state=seed)),
    "MutualInformationHash, trigger": (
        "trigger",
        lambda n_bits, seed: MutualInformationHash(n_bits, threshold=0.01, random_state=seed),
    ),
}

TITLES = {
    "random order": "Images arrive in random order",
    "one class after the other": "Classes arrive one after the other",
}
ORDERS = tuple(TITLES)


def load(path):
    with np.load(path) as data:
        return data["f_train"].astype(np.float32), data["y_train"], data["f_test"].astype(np.float32), data["y_test"]


def arrange(order, y, seed):
    """Put the training images in their order of arrival."""
    random = np.random.default_rng(seed)
    positions = random.permutation(len(y))
    if order == "random order":
        return positions
    rank = random.permutation(int(y.max()) + 1)
    return positions[np.argsort(rank[y[positions]], kind="stable")]


def choose_queries(y, seed):
    random = np.random.default_rng(seed)
    return np.concatenate([random.choice(np.flatnonzero(y == c), 100, replace=False) for c in np.unique(y)])


def stream(name, X, y, queries, query_labels, n_bits, seed, n_chunks, every):
    """Let the images arrive, and measure now and then."""
    policy, make = METHODS[name]
    hasher = make(n_bits, seed)
    codes = np.empty((len(X), -(-n_bits // 8)), dtype=np.uint8)
    n_updates, measured, fit_seconds, hashed = 0, [], [], []
    for number, rows in enumerate(np.array_split(np.arange(len(X)), n_chunks), start=1):
        seen = slice(0, int(rows[-1]) + 1)
        measures = number % every == 0 or number in (1, n_chunks)
        start = time.perf_counter()
        if policy != "refit":
            hasher.partial_fit(X[rows], y[rows])
        elif measures:
            hasher = make(n_bits, seed).fit(X[seen], y[seen])
        if policy != "refit" or measures:
            fit_seconds.append(round(time.perf_counter() - start, 4))
        anew = policy == "all anew" or (policy == "refit" and measures)
        if policy == "trigger":
            anew, n_updates = hasher.n_updates_ > n_updates, hasher.n_updates_
        if policy != "refit":
            hashed.append(seen.stop if anew else len(rows))
        elif measures:
            hashed.append(seen.stop)
        # Codes of all images that nobody looks at before they are hashed again need not be made here.
        if not anew and policy != "refit":
            codes[rows] = hasher.transform(X[rows])
        elif measures or policy == "trigger":
            codes[seen] = hasher.transform(X[seen])
        if measures:
            score = mean_average_precision(
                hasher.transform(queries), codes[seen], query_labels, y[seen], zero_relevant="skip"
            )
            measured.append({"images": seen.stop, "map": round(float(score), 5)})
    return {"measured": measured, "fit_seconds": fit_seconds, "hashed": hashed}


def report(rows, n_bits):
    print(f"mAP@ALL at {n_bits} bits; median seconds a fit; how often an image was hashed, mean over all at the end")
    print("| order | method | first chunk | half | all | fit s | hashed |\n|---|---|---|---|---|---|---|")
    for order in ORDERS:
        for name in METHODS:
            own = [row for row in rows if row["task"].get("method") == name and row["task"]["order"] == order]
            if not own:
                continue
            curves = np.mean([[point["map"] for point in row["measured"]] for row in own], axis=0)
            images = [point["images"] for point in own[0]["measured"]]
            half = int(np.argmin(np.abs(np.array(images) - images[-1] / 2)))
            seconds = statistics.median(second for row in own for second in row["fit_seconds"])
            hashed = statistics.mean(sum(row["hashed"]) for row in own) / images[-1]
            print(
                f"| {order} | {name} | {curves[0]:.3f} | {curves[half]:.3f} | {curves[-1]:.3f} | {seconds:.2f} | "
                f"{hashed:.1f} |"
            )


def draw(rows, path, n_bits):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {"all anew": "-", "kept": "--", "trigger": "-.", "refit": ":"}
    colors = dict(zip(dict.fromkeys(name.split(",")[0] for name in METHODS), ("C0", "C2", "C3", "C4"), strict=True))
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), sharey=True, layout="constrained")
    for axis, order in zip(axes, ORDERS, strict=True):
        for name, (policy, _) in METHODS.items():
            own = [row for row in rows if row["task"].get("method") == name and row["task"]["order"] == order]
            if not own:
                continue
            images = [point["images"] / 1000 for point in own[0]["measured"]]
            curve = np.mean([[point["map"] for point in row["measured"]] for row in own], axis=0)
            axis.plot(
                images, curve, styles[policy], color=colors[name.split(",")[0]], marker=".", linewidth=1.8, label=name
            )
        axis.set_title(TITLES[order])
        axis.set_xlabel("images seen, thousands")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"mAP@ALL, {n_bits} bits")
    # Of both panels, each name once.
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    handles = [lines[name] for name in METHODS if name in lines]
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="path of the .npz file with the features")
    parser.add_argument("--output", required=True, help="file of JSON lines; a stopped run goes on with it")
    parser.add_argument("--figure", help="file of the picture")
    parser.add_argument("--seeds", type=int, default=1, help="number of orders of arrival of each kind (default: 1)")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS), metavar="NAME")
    parser.add_argument("--orders", nargs="*", choices=ORDERS, default=ORDERS, metavar="ORDER")
    parser.add_argument("--bits", type=int, default=32, help="code length (default: 32)")
    parser.add_argument("--chunks", type=int, default=50, help="number of chunks (default: 50)")
    parser.add_argument("--every", type=int, default=5, help="chunks between measurements (default: 5)")
    arguments = parser.parse_args()
    drop_incomplete_line(arguments.output)
    run = Run(arguments.output)
    run.get({"kind": "versions", "skhash": skhash.__version__, "python": platform.python_version()}, dict)
    X, y, X_test, y_test = load(arguments.features)
    for seed in range(arguments.seeds):
        queries = choose_queries(y_test, seed)
        for order in arguments.orders:
            arrival = arrange(order, y, seed)
            for name in arguments.methods:
                task = {
                    "kind": "stream",
                    "method": name,
                    "order": order,
                    "n_bits": arguments.bits,
                    "seed": seed,
                    "chunks": arguments.chunks,
                    "every": arguments.every,
                }

                def measure(name=name, arrival=arrival, queries=queries, seed=seed):
                    return stream(
                        name,
                        X[arrival],
                        y[arrival],
                        X_test[queries],
                        y_test[queries],
                        arguments.bits,
                        seed,
                        arguments.chunks,
                        arguments.every,
                    )

                row = run.get(task, measure)
                print(f"seed {seed}, {order}, {name}: {row['measured'][-1]['map']:.3f}", file=sys.stderr, flush=True)
    rows = [row for row in run.rows.values() if row["task"].get("n_bits") == arguments.bits]
    report(rows, arguments.bits)
    if arguments.figure:
        draw(rows, arguments.figure, arguments.bits)


if __name__ == "__main__":
    main()
