"""What `retrieval.py` does in each protocol with a method, from the split to lines of outcomes.

What is measured of the methods is in `_retrieval_measures.py`.
"""

import hashlib
import json
import os
import platform
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from _retrieval_measures import N_CHUNKS, measure_once, measure_stream
from _retrieval_methods import find_method, validate
from _retrieval_splits import (
    UNLABELLED,
    chunks_of,
    counts_per_class,
    hold_out,
    mask_labels,
    split_few_labels,
    split_seen,
    split_unseen,
)
from _runs import Run, folder_beside
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import skhash

PROTOCOLS = ("seen", "unseen", "few-labels", "cross-dataset", "stream", "robust")
LABELS_PER_CLASS = (10, 50, 500)

# Standard deviations of Gaussian noise on the queries, in units of those of each feature over the training rows.
NOISE = (0.5, 1.0, 2.0)


class Dataset(NamedTuple):
    """Features of all images, training and test parts joined, and their classes."""

    name: str
    X: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Cell:
    """A method in a protocol on a split: what one process does at a time."""

    dataset: str
    protocol: str
    method: str
    seed: int
    # Number of labels, or the dataset that is searched.
    condition: str = ""
    # What the method makes use of beyond its usual training.
    variant: str = ""


class Parts:
    """Rows of a cell. Features are taken when they are asked for, so that a cell that is done costs little.

    Attributes
    ----------
    y, query_labels, database_labels : ndarray
        Classes; -1 in `y` for training rows without a label.
    split_hash, train_hash : str
        Of all rows, and of the split that the training rows are from.
    held_out : {"rows", "classes"}
        What settings are judged by.
    where : dict
        What tells these training rows from others of the same split.
    """

    def __init__(self, cell, datasets, arguments):
        dataset = self._dataset = self._searched = datasets[cell.dataset]
        draw = {"unseen": split_unseen, "few-labels": split_few_labels}.get(cell.protocol, split_seen)
        split = draw(dataset.y, counts_per_class(dataset.y, arguments.train_per_class), cell.seed)
        self._rows, found = split.train, split
        self.train_hash = self.split_hash = split.split_hash
        self.y, self.where = dataset.y[self._rows], {}
        if cell.protocol == "cross-dataset":
            searched = self._searched = datasets[cell.condition.removeprefix("to ")]
            found = split_seen(searched.y, counts_per_class(searched.y, arguments.train_per_class), cell.seed)
            self.split_hash += found.split_hash
        if cell.protocol == "few-labels":
            n_labels = int(cell.condition.split()[0])
            self.y = mask_labels(self.y, n_labels, cell.seed)
            self.where = {"labels": n_labels}
            needs_labels = find_method(cell.method, arguments.bits).labels != "none"
            if needs_labels and not cell.variant:
                labelled = self.y != UNLABELLED
                self._rows, self.y = self._rows[labelled], self.y[labelled]
        self._query_rows, self._database_rows = found.query, found.database
        self.query_labels = self._searched.y[self._query_rows]
        self.database_labels = self._searched.y[self._database_rows]
        self.held_out = "classes" if cell.protocol in ("unseen", "cross-dataset") else "rows"

    @cached_property
    def X(self):
        return self._dataset.X[self._rows].astype(np.float32)

    @cached_property
    def queries(self):
        return self._searched.X[self._query_rows].astype(np.float32)

    @cached_property
    def database(self):
        return self._searched.X[self._database_rows].astype(np.float32)


def say(message):
    tqdm.write(message, file=sys.stderr)


def versions():
    """Name the versions that figures depend on."""
    found = {"python": platform.python_version(), "skhash": skhash.__version__, "numpy": np.__version__}
    if "torch" in sys.modules:
        found["torch"] = sys.modules["torch"].__version__
    return found


def plan(datasets, arguments):
    """List the cells, seed by seed, so that a run that is stopped has whole seeds."""
    cells = []
    for seed in range(arguments.seeds):
        for protocol in arguments.protocols:
            for dataset in datasets.values():
                for name in arguments.methods:
                    cells += _cells_of(dataset, protocol, name, seed, datasets, arguments)
    return cells


def _cells_of(dataset, protocol, name, seed, datasets, arguments):
    method = find_method(name, arguments.bits)
    if protocol == "few-labels":
        pool = counts_per_class(dataset.y, arguments.train_per_class).pool
        return [
            Cell(dataset.name, protocol, name, seed, f"{n_labels} labels", variant)
            for n_labels in LABELS_PER_CLASS
            if n_labels <= pool
            for variant in _variants_with_few_labels(method)
        ]
    if protocol == "cross-dataset":
        others = [other.name for other in datasets.values() if other.name != dataset.name]
        return [Cell(dataset.name, protocol, name, seed, f"to {other}") for other in others]
    if protocol == "robust":
        variants = ("", "adversarial") if method.is_deep else ("",)
        return [Cell(dataset.name, protocol, name, seed, variant=variant) for variant in variants]
    if protocol == "stream" and method.name == "cosine":
        return []
    return [Cell(dataset.name, protocol, name, seed)]


def _variants_with_few_labels(method):
    """Give the unlabelled rows to those which can take them, as a row of its own beside that without them."""
    if method.labels == "none":
        return ("",)
    return ("", "unlabelled") if method.labels == "all rows" else ("",)


class Worker:
    """One cell: chooses settings, fits, evaluates, and adds lines to the file."""

    def __init__(self, cell, datasets, arguments):
        self.cell, self.arguments = cell, arguments
        self.run = Run(arguments.run)
        self.method = find_method(cell.method, arguments.bits)
        self.parts = Parts(cell, datasets, arguments)

    def work(self):
        """Do what is missing."""
        with threadpool_limits(1):
            if self.method.lengths == "each":
                for n_bits in self.arguments.bits:
                    self._work_at([n_bits])
            else:
                self._work_at(self.arguments.bits if self.method.lengths == "prefixes" else [None])

    def _work_at(self, lengths):
        """Fit one model, and evaluate it at one or several lengths."""
        names = self.outcomes()
        tasks = {(n_bits, name): self._task(n_bits, name) for n_bits in lengths for name in names}
        if all(self.run.has(task) for task in tasks.values()):
            return
        try:
            chosen = self._choose(max(lengths) if lengths[0] else None)
            measure = measure_stream if self.cell.protocol == "stream" else measure_once
            outcomes = measure(self, lengths, chosen)
        except ValueError as error:
            outcomes = {key: {"refused": str(error)} for key in tasks}
        for key, task in tasks.items():
            row = self.run.get(task, lambda key=key, task=task: self._finished(task, outcomes[key]))
            score = f"mAP {row['map']:.4f}, fit {row['fit_seconds']:.1f} s" if "map" in row else row["refused"]
            say(f"{_describe(task)}: {score}")

    def outcomes(self):
        """Name what is measured of one model at one length."""
        if self.cell.protocol == "stream":
            return [f"{number}/{N_CHUNKS}" for number in range(1, N_CHUNKS + 1)]
        if self.cell.protocol == "robust":
            return ["clean", *(f"noise {noise:g}" for noise in NOISE), *(["attacked"] if self.method.is_deep else [])]
        return [self.cell.condition]

    def _task(self, n_bits, condition):
        return {
            "kind": "result",
            "dataset": self.cell.dataset,
            "train_per_class": self.arguments.train_per_class,
            "protocol": self.cell.protocol,
            "condition": condition,
            "method": self.cell.method,
            "variant": self.cell.variant,
            "n_bits": n_bits,
            "seed": self.cell.seed,
            "split": self.parts.split_hash,
            "budget": self.arguments.budget,
        }

    def _finished(self, task, outcome):
        """Save what each query has, and sum it up."""
        outcome = dict(outcome)
        values = outcome.pop("average_precisions", None)
        if values is not None:
            name = hashlib.sha1(json.dumps(task, sort_keys=True).encode()).hexdigest()[:20]
            folder = folder_beside(self.arguments.run, "queries")
            os.makedirs(folder, exist_ok=True)
            np.save(os.path.join(folder, f"{name}.npy"), values.astype(np.float16))
            outcome = {"map": round(float(values.mean()), 6), "queries": name, **outcome}
        return {**outcome, "versions": versions()}

    def make(self, n_bits, setting, n_rows):
        """Make the model of a setting, in the variant of this cell."""
        model = self.method.make(n_bits, self.cell.seed, setting, n_rows)
        if self.method.is_deep and self.cell.variant == "unlabelled":
            from skhash.deep.semi_supervised import MeanTeacher

            model.set_params(consistency=MeanTeacher())
        if self.cell.variant == "adversarial":
            from skhash.deep.adversarial import ProjectedGradient

            model.set_params(adversarial=ProjectedGradient())
        return model

    def _choose(self, n_bits):
        """Try settings within the budget, and return the best with all that were tried."""
        stages, budget = self.method.stages, self.arguments.budget
        if sum(map(len, stages)) == 1:
            return {"setting": stages[0][0], "tried": [], "tune_seconds": 0.0}
        X, y = self.parts.X, self.parts.y
        if self.cell.protocol == "stream":
            first = chunks_of(y, N_CHUNKS, self.cell.seed)[0]
            X, y = X[first], y[first]
        fitted, held_out = hold_out(y, self.parts.held_out, self.cell.seed)
        rows = (X[fitted], y[fitted], X[held_out], y[held_out])
        best, tried, seconds = (None, {}, {}), [], 0.0
        for stage in stages:
            base = best[1]
            for change in stage:
                if len(tried) == budget:
                    break
                row = self._try(n_bits, {**base, **change}, rows)
                tried.append([{**base, **change}, row["validation"]])
                seconds += row["seconds"]
                if row["validation"] is not None and (best[0] is None or row["validation"] > best[0]):
                    best = row["validation"], {**base, **change}, row["setting"]
        if best[0] is None:
            raise ValueError(row["refused"])
        return {"setting": best[2], "tried": tried, "tune_seconds": round(seconds, 3)}

    def _try(self, n_bits, setting, rows):
        task = {
            "kind": "tuning",
            "dataset": self.cell.dataset,
            "held_out": self.parts.held_out,
            "method": self.cell.method,
            "variant": self.cell.variant,
            "n_bits": n_bits,
            "seed": self.cell.seed,
            "split": self.parts.train_hash,
            "chunk": self.cell.protocol == "stream",
            **self.parts.where,
            "setting": setting,
        }

        def train():
            n_labelled = int((rows[1] != UNLABELLED).sum())
            model = self.make(n_bits, setting, n_labelled)
            start = time.perf_counter()
            try:
                score, taken = validate(self.method, model, setting, *rows)
            except ValueError as error:
                return {"validation": None, "refused": str(error), "seconds": time.perf_counter() - start}
            seconds = time.perf_counter() - start
            return {"validation": round(score, 6), "setting": taken, "seconds": round(seconds, 3)}

        row = self.run.get(task, train)
        say(f"{_describe(task)} {setting}: validation {row['validation']}")
        return row


def _describe(task):
    names = ("seed", "dataset", "protocol", "held_out", "condition", "method", "variant", "n_bits", "labels")
    words = {name: task[name] for name in names if task.get(name) not in (None, "")}
    return ", ".join(f"{name} {value}" if name in ("seed", "held_out") else str(value) for name, value in words.items())


def work(cell, datasets, arguments):
    """Do a cell in a process of its own."""
    Worker(cell, datasets, arguments).work()
