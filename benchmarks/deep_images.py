"""Deep hashing from pixels: a small network from nothing, and a pretrained one that is fine-tuned.

    python benchmarks/deep_images.py CIFAR10.npz [--output deep_images.json] [--figure deep_images.png] [--n-jobs 2]

CIFAR10.npz holds `x_train` (50000, 32, 32, 3) uint8, `y_train`, `x_test`, `y_test`. 100 images of each class become
queries; others train, and of the rest 10 000 are the database. `SmallCNN` sees the images at 32 pixels and starts from
random weights; `BackboneNetwork` sees them at 96 pixels, starts from weights of ImageNet, and trains on fewer images.
Beside it stands the same backbone frozen: `CNNFeatures` at 96 pixels and a head on top, on the same images; and ITQ on
pixels and on these features. The figure shows loss and validation mean average precision after each epoch; validation
rows come from the training images.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch

from skhash import ITQ, CNNFeatures, DeepSupervisedHasher, PixelFeatures
from skhash.datasets import retrieval_split
from skhash.metrics import mean_average_precision

N_BITS, BACKBONE_SIZE = 32, 96


def load(path, seed, *, n_train_per_class=1000, n_database=10_000):
    """Read all images, and draw queries, training images and a database."""
    with np.load(path) as data:
        images = np.concatenate([data["x_train"], data["x_test"]])
        labels = np.concatenate([data["y_train"], data["y_test"]])
    split = retrieval_split(labels, n_queries_per_class=100, n_train_per_class=n_train_per_class, random_state=seed)
    database = np.random.default_rng(seed).choice(split.database, n_database, replace=False)
    return images, labels, split.query, split.train, database


class Benchmark:
    """Times fits, scores rankings, and keeps what is printed."""

    def __init__(self, labels, query, database):
        self.labels, self.query, self.database, self.rows = labels, query, database, []

    def run(self, name, hasher, X_train, y_train, X_query, X_database, seconds_before=0.0):
        start = time.perf_counter()
        hasher.fit(X_train, y_train)
        fitted = time.perf_counter()
        codes = hasher.transform(X_query), hasher.transform(X_database)
        hashed = time.perf_counter()
        score = mean_average_precision(*codes, self.labels[self.query], self.labels[self.database])
        row = {
            "method": name,
            "images": len(X_train),
            "fit_seconds": fitted - start + seconds_before,
            "hashed_per_second": (len(X_query) + len(X_database)) / (hashed - fitted),
            "map": score,
        }
        if hasattr(hasher, "net_"):
            columns = ("train_loss", "valid_map", "bit_balance", "samples_per_second")
            row["epochs"] = [{column: record[column] for column in columns} for record in hasher.net_.history]
        self.rows.append(row)
        print(
            f"| {name} | {row['images']:,} | {len(row.get('epochs', [])) or '-'} | {row['fit_seconds']:.0f} | "
            f"{row['hashed_per_second']:,.0f} | {score:.3f} |",
            flush=True,
        )
        return hasher


def draw(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    trained = [row for row in rows if "epochs" in row]
    figure, (loss_axes, score_axes) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for row in trained:
        epochs = np.arange(1, len(row["epochs"]) + 1)
        loss_axes.plot(epochs, [record["train_loss"] for record in row["epochs"]], marker=".", label=row["method"])
        (line,) = score_axes.plot(epochs, [record["valid_map"] for record in row["epochs"]], marker=".")
        score_axes.axhline(row["map"], color=line.get_color(), linestyle=":", linewidth=1)
    loss_axes.set(xlabel="epoch", ylabel="training loss")
    score_axes.set(xlabel="epoch", ylabel="mean average precision", ylim=(0, 1))
    score_axes.set_title("validation (lines), queries after the training (dotted)", fontsize="medium")
    loss_axes.legend()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--output", type=Path, help="file for the results, as JSON")
    parser.add_argument("--figure", type=Path, help="file for the picture")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12, help="of the small network")
    parser.add_argument("--fine-tuning-epochs", type=int, default=3)
    parser.add_argument("--fine-tuning-images", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.n_jobs)
    images, labels, query, train, database = load(arguments.images, arguments.seed)
    few = np.random.default_rng(arguments.seed).choice(train, arguments.fine_tuning_images, replace=False)
    common = {"random_state": arguments.seed, "n_jobs": arguments.n_jobs, "device": arguments.device, "verbose": 1}
    print(f"{platform.processor() or platform.machine()}, {arguments.n_jobs} threads, {N_BITS} bits\n")
    print("| method | training images | epochs | fit, s | images hashed/s | mAP@ALL |")
    print("|---|---|---|---|---|---|")
    benchmark = Benchmark(labels, query, database)
    pixels = PixelFeatures(image_size=16).fit(images[few])
    parts = [pixels.transform(images[rows]) for rows in (train, query, database)]
    benchmark.run("ITQ on pixels", ITQ(N_BITS, random_state=arguments.seed), parts[0], None, *parts[1:])
    small = DeepSupervisedHasher(
        N_BITS, network="cnn", max_epochs=arguments.epochs, lr=0.002, lr_schedule="cosine", **common
    )
    benchmark.run("SmallCNN", small, images[train], labels[train], images[query], images[database])
    frozen = CNNFeatures(image_size=BACKBONE_SIZE, n_jobs=arguments.n_jobs, device=arguments.device).fit(images[few])
    start = time.perf_counter()
    features = frozen.transform(images[few])
    seconds = time.perf_counter() - start
    parts = [frozen.transform(images[rows]) for rows in (query, database)]
    benchmark.run("ITQ, frozen backbone", ITQ(N_BITS, random_state=arguments.seed), features, None, *parts, seconds)
    head = DeepSupervisedHasher(N_BITS, network="mlp", **{**common, "verbose": 0})
    benchmark.run("head, frozen backbone", head, features, labels[few], *parts, seconds)
    tuned = DeepSupervisedHasher(
        N_BITS,
        network="efficientnet_lite0",
        image_size=BACKBONE_SIZE,
        max_epochs=arguments.fine_tuning_epochs,
        batch_size=32,
        lr=0.003,
        lr_schedule="cosine",
        **common,
    )
    benchmark.run("fine-tuned backbone", tuned, images[few], labels[few], images[query], images[database])
    if arguments.output:
        arguments.output.write_text(json.dumps({"n_jobs": arguments.n_jobs, "rows": benchmark.rows}, indent=1))
    if arguments.figure:
        draw(benchmark.rows, arguments.figure)


if __name__ == "__main__":
    main()
