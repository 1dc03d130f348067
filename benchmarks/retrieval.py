"""Mean average precision of every method in every protocol, each with settings chosen at the same budget.

    python benchmarks/retrieval.py RUN.jsonl --features NAME=FILE.npz [NAME2=FILE2.npz] [--images NAME=FOLDER]
        [--protocols seen unseen few-labels cross-dataset stream robust] [--methods NestedHash ITQ deep:csq]
        [--bits 16 32 64] [--seeds 5] [--train-per-class 500] [--budget 6] [--n-jobs 1]
        [--report FOLDER] [--against NestedHash]

A file of features holds `f_train`, `y_train`, `f_test`, `y_test`, which are joined; a folder of images, one subfolder
for each class, goes through `CNNFeatures`. Protocols:

- `seen`: 100 queries and `--train-per-class` training rows of each class, the other rows are the database.
- `unseen`: training rows are of seven tenths of the classes, queries and database of the others.
- `few-labels`: twice as many training rows, of which 10, 50 or 500 of each class have labels. Hashers with labels learn
  from these rows alone; "unlabelled" stands for a second time with the other rows, for networks with a mean teacher.
- `cross-dataset`: `seen` with queries and database of another dataset.
- `stream`: the training rows of `seen` in five chunks; who has no `partial_fit` starts again with all so far. The
  database is hashed anew after each chunk.
- `robust`: `seen` with noise on the queries; networks also under attack, with and without adversarial training.

A dataset whose smallest class is too small for that has a seventh of this class as queries, and half of its other rows
in training.

Every method tries at most `--budget` settings, at each code length anew, judged by training rows alone: a fifth of them
is held out of the fit and ranked among itself, for `unseen` and `cross-dataset` three tenths of the training classes.
A network may stop after the best epoch. The best setting is fitted to all training rows. `NestedHash` is one model for
all lengths with its defaults; "NestedHash-separate" is one for each. "deep:nested" is one training for all lengths, and
its setting is chosen at the largest.

Each line of RUN.jsonl is an outcome, and RUN.queries/ has the average precision of each query. A run that was stopped
goes on. Tables are printed as Markdown; `--report` writes them for Sphinx, with figures.
"""

import argparse
import sys

import numpy as np
from _retrieval_methods import DEFAULT_METHODS, find_method
from _retrieval_protocols import PROTOCOLS, Dataset, plan, say, work
from _retrieval_report import Results, as_markdown, closing_line, sections
from _runs import Run, drop_incomplete_line, folder_beside
from joblib import Parallel, delayed
from tqdm import tqdm


def load_features(path):
    with np.load(path) as data:
        X = np.concatenate([data["f_train"], data["f_test"]])
        y = np.concatenate([data["y_train"], data["y_test"]]).astype(np.int64)
    return X, y


def load_images(folder, cache_dir):
    from skhash import CNNFeatures
    from skhash.datasets import load_image_folder

    images, y = load_image_folder(folder, return_X_y=True)
    return CNNFeatures(cache_dir=cache_dir, verbose=True).fit(images).transform(images), y


def load_datasets(arguments):
    datasets = {}
    for load, pairs in ((load_features, arguments.features), (load_images, arguments.images)):
        for pair in pairs:
            name, found, path = pair.partition("=")
            if not found or not path:
                raise SystemExit(f"retrieval.py: {pair!r} must be NAME=PATH.")
            given = (path,) if load is load_features else (path, folder_beside(arguments.run, "features"))
            datasets[name] = Dataset(name, *load(*given))
    if not datasets:
        raise SystemExit("retrieval.py: no data; pass --features NAME=FILE.npz or --images NAME=FOLDER.")
    return datasets


def known_methods(arguments):
    """Leave out, and name, what this version of skhash does not have."""
    known = [name for name in arguments.methods if find_method(name, arguments.bits) is not None]
    missing = [name for name in arguments.methods if name not in known]
    if missing:
        say(f"not in this skhash, left out: {', '.join(missing)}")
    return known


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="file of JSON lines; a stopped run goes on with it")
    parser.add_argument("--features", nargs="+", default=[], metavar="NAME=FILE", help=".npz files with features")
    parser.add_argument("--images", nargs="+", default=[], metavar="NAME=FOLDER", help="a subfolder for each class")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=["seen", "unseen"], metavar="NAME")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=DEFAULT_METHODS,
        metavar="NAME",
        help="classes of skhash, deep:LOSS, one-hot, cosine, PCAH-random, NestedHash-separate",
    )
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64], help="code lengths (default: 16 32 64)")
    parser.add_argument("--seeds", type=int, default=5, help="number of splits (default: 5)")
    parser.add_argument("--train-per-class", type=int, default=500, help="training rows of a class (default: 500)")
    parser.add_argument("--budget", type=int, default=6, help="settings tried of each method (default: 6)")
    parser.add_argument("--n-jobs", type=int, default=1, help="number of processes (default: 1)")
    parser.add_argument("--report", metavar="FOLDER", help="where tables and figures are written")
    parser.add_argument("--against", default="NestedHash", metavar="NAME", help="row that the others are compared with")
    return parser.parse_args(argv)


def main():
    arguments = parse()
    arguments.bits = sorted(set(arguments.bits))
    arguments.methods = known_methods(arguments)
    drop_incomplete_line(arguments.run)
    datasets = load_datasets(arguments)
    cells = plan(datasets, arguments)
    jobs = (delayed(work)(cell, datasets, arguments) for cell in cells)
    done = Parallel(n_jobs=arguments.n_jobs, return_as="generator_unordered")(jobs)
    for _ in tqdm(done, total=len(cells), unit="cell", file=sys.stderr):
        pass
    results = Results(arguments.run, Run(arguments.run).rows.values(), arguments.bits)
    for title, remark, table in sections(results, arguments.against):
        print(f"\n### {title}\n\n{remark}\n\n{as_markdown(table)}")
    print(f"\n{closing_line(results)}")
    if arguments.report:
        from _retrieval_figures import write_report

        write_report(arguments.report, results, arguments.against)


if __name__ == "__main__":
    main()
