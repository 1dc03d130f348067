"""Images per second of EfficientNet-Lite0: plain torch against the network that `CNNFeatures` runs.

    python benchmarks/features_speed.py [--output features_speed.json] [--threads 1] [--rounds 9]

All forms run in one process, on the same pixels, with the same number of threads; a round times every form once, in
turn, so that other load on the machine meets all of them. The ratio is the median over the rounds of the ratio within
a round. The last two rows are whole transforms: from uint8 arrays of the final size, and from JPEG files.
"""

import argparse
import copy
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from skhash._backbones import load_efficientnet_lite0
from skhash.features import CNNFeatures
from skhash.features._cnn_speed import absorb_batch_norm, absorb_padding, fold_network, trace_network

LAYER = "_avg_pooling"


def forms_of(image_size):
    """Return the network in its plain form and with every step of the acceleration added in turn."""
    network = load_efficientnet_lite0(image_size, None, name="features_speed")

    def folded(network, rewrites=None):
        with torch.no_grad():
            return fold_network(trace_network(network, LAYER), rewrites)

    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    return {
        "eager, NCHW": (network.extract_features, torch.contiguous_format),
        "eager, channels last": (last.extract_features, torch.channels_last),
        "+ batch norm folded": (folded(last, [absorb_batch_norm]), torch.channels_last),
        "+ padding folded": (folded(last, [absorb_padding, absorb_batch_norm]), torch.channels_last),
        "+ rectifiers in place": (folded(last), torch.channels_last),
    }


def jobs_of(pixels, folder):
    """Return one function per row of the table, each computing the features of the same images."""
    jobs = {}
    batch = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
    for name, (network, layout) in forms_of(pixels.shape[1]).items():
        images = batch.contiguous(memory_format=layout)
        jobs[name] = lambda network=network, images=images: network(images).mean((2, 3)).numpy()
    paths = []
    for index, image in enumerate(pixels):
        paths.append(folder / f"{index}.jpg")
        Image.fromarray(image).resize((640, 480)).save(paths[-1], quality=90)
    estimator = CNNFeatures(image_size=pixels.shape[1], batch_size=len(pixels), device="cpu").fit(pixels)
    jobs["CNNFeatures, arrays"] = lambda: estimator.transform(pixels)
    jobs["CNNFeatures, 640 x 480 JPEG"] = lambda: estimator.transform(paths)
    return jobs


def measure(jobs, rounds):
    """Time every job once a round, after one round to warm up."""
    seconds = {name: [] for name in jobs}
    with torch.inference_mode():
        reference = next(iter(jobs.values()))()
        differences = {name: float(np.abs(job() - reference).max()) for name, job in jobs.items()}
        for _ in range(rounds):
            for name, job in jobs.items():
                start = time.perf_counter()
                job()
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(times) for name, times in seconds.items()}, differences


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="file for the results, as JSON")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = (options.batch_size, options.image_size, options.image_size, 3)
    small = np.random.default_rng(0).integers(256, size=(options.batch_size, 8, 8, 3), dtype=np.uint8)
    pixels = np.stack([np.asarray(Image.fromarray(image).resize(shape[1:3])) for image in small])
    with tempfile.TemporaryDirectory() as folder:
        seconds, differences = measure(jobs_of(pixels, Path(folder)), options.rounds)

    plain = seconds["eager, NCHW"]
    rows = {
        name: {
            "images_per_second": float(options.batch_size / np.median(times)),
            "ratio": float(np.median(plain / times)),
            "largest_difference": differences[name],
        }
        for name, times in seconds.items()
    }
    print(f"EfficientNet-Lite0, {options.image_size} px, batches of {options.batch_size}, {options.threads} threads")
    print(f"{'':30s}{'images/s':>10s}{'ratio':>8s}{'difference':>12s}")
    for name, row in rows.items():
        difference = "" if "JPEG" in name else f"{row['largest_difference']:12.1e}"
        print(f"{name:30s}{row['images_per_second']:10.1f}{row['ratio']:8.2f}{difference}")
    if options.output:
        machine = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
        settings = {key: value for key, value in vars(options).items() if key != "output"}
        report = {"settings": settings, "versions": machine, "rows": rows}
        options.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
