"""Deep hashing from pixels for several code lengths: one training whose prefixes are codes, or one for each length.

    python benchmarks/nested_images.py CIFAR10.npz [--network cnn] [--epochs 8] [--train-per-class 500] [--seeds 1]
        [--losses nested orthohash] [--lam 1] [--bits 16 32 64] [--database 10000] [--output nested_images.json]
        [--n-jobs 2]

Images and splits are those of `deep_images.py`: CIFAR10.npz holds `x_train` (50000, 32, 32, 3) uint8, `y_train`,
`x_test`, `y_test`; 100 images of each class are queries. The loss "nested" is trained once, at the largest length, and
its codes are cut to the others. "orthohash" is trained at each length, and its longest codes are cut as well, which
says what the prefixes of the loss are worth. `--lam` is the weight of the pull of "nested" to balanced bits. All
trainings have the same settings, and none holds rows out.

"cnn" is `SmallCNN` at 32 pixels from random weights, "efficientnet_lite0" a pretrained backbone that is fine-tuned at
96 pixels. Mean average precision is over the whole database, the mean of the seeds.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from deep_images import BACKBONE_SIZE, load

from skhash import DeepSupervisedHasher
from skhash.codes import truncate_codes
from skhash.deep.losses import Nested
from skhash.metrics import mean_average_precision

# By network: what `deep_images.py` trains it with.
SETTINGS = {
    "cnn": {"lr": 0.002, "batch_size": 128},
    "efficientnet_lite0": {"lr": 0.003, "batch_size": 32, "image_size": BACKBONE_SIZE},
}


def run_seed(seed, arguments):
    """Train each network of a seed, and score its codes at the lengths that they serve."""
    images, labels, query, train, database = load(
        arguments.images, seed, n_train_per_class=arguments.train_per_class, n_database=arguments.database
    )
    longest = max(arguments.bits)

    def train_and_score(loss, n_bits, rows):
        hasher = DeepSupervisedHasher(
            n_bits,
            loss=loss,
            network=arguments.network,
            max_epochs=arguments.epochs,
            lr_schedule="cosine",
            validation_fraction=None,
            random_state=seed,
            n_jobs=arguments.n_jobs,
            device=arguments.device,
            verbose=1,
            **SETTINGS[arguments.network],
        )
        start = time.perf_counter()
        hasher.fit(images[train], labels[train])
        seconds = time.perf_counter() - start
        codes = hasher.transform(images[query]), hasher.transform(images[database])
        for method, lengths in rows.items():
            for length in lengths:
                cut = (truncate_codes(part, length) for part in codes)
                score = mean_average_precision(*cut, labels[query], labels[database])
                yield {"method": method, "seed": seed, "n_bits": length, "map": score, "fit_seconds": seconds}

    if "nested" in arguments.losses:
        loss = Nested(prefixes=tuple(arguments.bits), lam=arguments.lam)
        yield from train_and_score(loss, longest, {f"nested, lam={arguments.lam:g}, cut": arguments.bits})
    for n_bits in arguments.bits if "orthohash" in arguments.losses else []:
        cut = {"orthohash, cut": arguments.bits} if n_bits == longest else {}
        yield from train_and_score("orthohash", n_bits, {"orthohash, one for each length": [n_bits], **cut})


def report(rows, bits):
    print("| method | " + " | ".join(f"{n_bits} bits" for n_bits in bits) + " | fits, s |")
    print("|---|" + "---|" * (len(bits) + 1))
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        scores = [np.mean([row["map"] for row in own if row["n_bits"] == n_bits]) for n_bits in bits]
        n_seeds = len({row["seed"] for row in own})
        # Rows of one training have the same time, to the digit.
        seconds = sum({row["fit_seconds"] for row in own}) / n_seeds
        print(f"| {method} | " + " | ".join(f"{score:.3f}" for score in scores) + f" | {seconds:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--network", choices=SETTINGS, default="cnn")
    parser.add_argument("--losses", nargs="+", choices=["nested", "orthohash"], default=["nested", "orthohash"])
    parser.add_argument("--lam", type=float, default=Nested().lam, help="weight of the pull to balanced bits")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--train-per-class", type=int, default=500)
    parser.add_argument("--database", type=int, default=10_000, help="images that are searched (default: 10000)")
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64], help="code lengths (default: 16 32 64)")
    parser.add_argument("--seeds", type=int, default=1, help="number of splits (default: 1)")
    parser.add_argument("--output", type=Path, help="file for the results, as JSON")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    arguments.bits = sorted(set(arguments.bits))
    torch.set_num_threads(arguments.n_jobs)
    rows = [row for seed in range(arguments.seeds) for row in run_seed(seed, arguments)]
    report(rows, arguments.bits)
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
