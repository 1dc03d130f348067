"""Seconds of an epoch of training, and of hashing: `DeepSupervisedHasher` beside loops written by hand.

    python benchmarks/deep_speed.py [--output deep_speed.json] [--threads 1] [--rounds 7] [--device cpu]

Both train the same network with the same loss, optimizer and batch size in one process; a round times each of them
once, in turn, so that other load on the machine meets both. Seconds are of whole trainings without validation, from
NumPy arrays to the last step, divided by the epochs. The hand-written loop moves the tensors once and slices batches,
and checks and records nothing. On images it is given the decoded pixels, also where the estimator reads files: the
ratio then says what reading costs, in a training of five epochs. Hashing is timed of the networks so trained; by hand
it is the network on batches of 1024 rows of features or 128 images, a sign and a packing. The ratio is the median over
the rounds of the ratio within a round.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from skhash.deep import DeepSupervisedHasher
from skhash.deep.losses import LOSSES
from skhash.deep.networks import make_network

N_BITS, BATCH_SIZE, LR = 64, 128, 0.001


def train_by_hand(inputs, y, loss, epochs, device):
    """Train as a researcher's script does."""
    torch.manual_seed(0)
    images = inputs.ndim == 4
    shape = (inputs.shape[3], *inputs.shape[1:3]) if images else inputs.shape[1:]
    network = make_network("auto", shape, N_BITS, name="train_by_hand")
    rows = torch.from_numpy(inputs).to(device)
    if not images:
        network.learn_inputs(rows.cpu())
    targets = torch.nn.functional.one_hot(torch.from_numpy(y)).float()
    criterion = LOSSES[loss]()
    criterion.prepare(
        N_BITS, targets.shape[1], n_samples=len(y), targets=targets, generator=torch.Generator().manual_seed(0)
    )
    network, criterion, targets = network.to(device).train(), criterion.to(device), targets.to(device)
    optimizer = torch.optim.Adam([*network.parameters(), *criterion.parameters()], lr=LR, weight_decay=1e-4)
    for epoch in range(epochs):
        criterion.start_epoch(epoch)
        order = torch.randperm(len(rows)).to(device)
        for positions in order.split(BATCH_SIZE):
            batch = rows[positions]
            if images:
                batch = batch.permute(0, 3, 1, 2).float().div_(255)
            loss_value = criterion(network(batch), targets[positions], positions)
            optimizer.zero_grad()
            loss_value.backward()
            optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()


def hash_by_hand(network, project, inputs, device):
    """Hash as a researcher's script does."""
    codes, size = [], 128 if inputs.ndim == 4 else 1024
    with torch.inference_mode():
        for start in range(0, len(inputs), size):
            batch = torch.from_numpy(inputs[start : start + size]).to(device)
            if inputs.ndim == 4:
                batch = batch.permute(0, 3, 1, 2).float().div_(255)
            codes.append(np.packbits((project(network(batch)) >= 0).cpu().numpy(), axis=1))
    return np.concatenate(codes)


def hashing_jobs(hasher, X, device):
    network, loss = hasher.net_.module_, hasher.net_.criterion_
    return {"by hand": lambda: hash_by_hand(network, loss.project, X, device), "skhash": lambda: hasher.transform(X)}


def jobs_of(kind, loss, n_rows, device, threads, folder):
    """Return the hand-written training and that of the estimator, and the epochs of each."""
    random = np.random.default_rng(0)
    y = random.integers(0, 10, n_rows)
    epochs = {"features": 10, "images": 2, "files": 5}[kind]
    if kind == "features":
        pixels = X = random.normal(size=(n_rows, 1280)).astype(np.float32)
    else:
        X = pixels = random.integers(0, 256, (n_rows, 32, 32, 3), dtype=np.uint8)
    if kind == "files":
        X = [folder / f"{number}.jpg" for number in range(n_rows)]
        for path, image in zip(X, pixels, strict=True):
            Image.fromarray(image).resize((320, 240)).save(path, quality=90)
    hasher = DeepSupervisedHasher(
        N_BITS,
        loss=loss,
        network="mlp" if kind == "features" else "cnn",
        image_size=None if kind == "features" else 32,
        max_epochs=epochs,
        batch_size=BATCH_SIZE,
        lr=LR,
        validation_fraction=None,
        augment=None,
        mixed_precision=False,
        device=str(device),
        random_state=0,
        n_jobs=threads,
    )
    jobs = {"by hand": lambda: train_by_hand(pixels, y, loss, epochs, device), "skhash": lambda: hasher.fit(X, y)}
    return jobs, epochs, hasher, X


def measure(jobs, rounds):
    """Time every job once a round, after one round to warm up."""
    seconds = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(times) for name, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="file for the results, as JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--kinds", nargs="+", default=["features", "images", "files"])
    parser.add_argument("--losses", nargs="+", default=["orthohash", "hashnet", "dpsh"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {arguments.device}, ", end="")
    print(f"{arguments.threads} thread(s), batches of {BATCH_SIZE}, {N_BITS} bits, {arguments.rounds} rounds\n")
    print("| what | loss | by hand, s an epoch | skhash, s an epoch | ratio | rows/s |")
    print("|---|---|---|---|---|---|")
    results = []

    def report(kind, loss, jobs, epochs, n_rows):
        seconds = measure(jobs, arguments.rounds)
        ratio = float(np.median(seconds["skhash"] / seconds["by hand"]))
        hand, ours = (float(np.median(seconds[name])) / epochs for name in ("by hand", "skhash"))
        results.append({"rows": kind, "loss": loss, "hand": hand, "skhash": ours, "ratio": ratio})
        print(f"| {kind} | `{loss}` | {hand:.3f} | {ours:.3f} | {ratio:.2f} | {n_rows / ours:,.0f} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for kind in arguments.kinds:
            n_rows = 5000 if kind == "features" else 1280
            for loss in arguments.losses if kind == "features" else arguments.losses[:1]:
                jobs, epochs, hasher, X = jobs_of(kind, loss, n_rows, arguments.device, arguments.threads, Path(folder))
                report(f"train, {kind}", loss, jobs, epochs, n_rows)
            if kind != "files":
                report(f"hash, {kind}", loss, hashing_jobs(hasher, X, arguments.device), 1, n_rows)
    if arguments.output:
        arguments.output.write_text(json.dumps({"threads": arguments.threads, "results": results}, indent=1))


if __name__ == "__main__":
    main()
