"""Tables of `retrieval.py`: means, spreads, and paired differences with bootstrap intervals."""

import os
import statistics
from collections import defaultdict

import numpy as np
from _runs import folder_beside
from sklearn.utils import gen_batches

# Resamples of an interval, and those that are drawn together.
N_RESAMPLES, _BLOCK_RESAMPLES = 2000, 200

LEVEL = 0.95

# A table has the columns of these protocols side by side.
TABLES = (("seen", "unseen"), ("few-labels",), ("cross-dataset",), ("stream",), ("robust",))

TITLES = {
    "seen": "the same classes in training and search",
    "unseen": "training classes and searched classes are disjoint",
    "few-labels": "labels of few rows of each class",
    "cross-dataset": "trained on one dataset, searched in another",
    "stream": "training rows arrive in five chunks; mAP and fit after each",
    "robust": "queries with noise, and under attack",
}


def paired_interval(differences, *, random_state=0):
    """Bootstrap the mean of paired differences over seeds and over queries.

    A resample draws as many seeds as there are, with replacement, and of each as many queries as it has, with
    replacement. The interval is between percentiles of the means of 2000 resamples.

    Parameters
    ----------
    differences : list of ndarray of shape (n_queries,)
        What one method is ahead of another for each query, an array for each seed.

    random_state : int, default=0
        Seed of the resamples.

    Returns
    -------
    mean, low, high : float
        The mean of the means of the seeds, and its interval of 95 %.
    """
    random = np.random.default_rng(random_state)
    n_seeds = len(differences)
    drawn = random.integers(n_seeds, size=(N_RESAMPLES, n_seeds))
    means = np.empty(drawn.shape)
    for seed, values in enumerate(differences):
        values = np.asarray(values, dtype=np.float64)
        places = np.flatnonzero(drawn == seed)
        for batch in gen_batches(len(places), _BLOCK_RESAMPLES):
            rows = random.integers(len(values), size=(len(places[batch]), len(values)))
            means.flat[places[batch]] = values[rows].mean(axis=1)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means.mean(axis=1), [tail, 100 - tail])
    return float(np.mean([np.mean(values) for values in differences])), float(low), float(high)


class Results:
    """The results among the lines of a run, by table, row, column and seed."""

    def __init__(self, path, rows, bits):
        self.path, self.bits = path, bits
        self.all_rows = list(rows)
        self.rows = [row for row in self.all_rows if row["task"]["kind"] == "result" and "map" in row]
        self.refused = [row for row in self.all_rows if row["task"]["kind"] == "result" and "refused" in row]
        self._queries = {}

    def groups(self):
        """List what has a table: dataset, training rows a class, and protocols."""
        keys = dict.fromkeys((row["task"]["dataset"], row["task"]["train_per_class"]) for row in self.rows)
        for dataset, train in keys:
            for protocols in TABLES:
                own = [row for row in self.rows if _is_of(row, dataset, train, protocols)]
                if own:
                    yield dataset, train, protocols, self._cells(own)

    def _cells(self, rows):
        """Sort rows into a cell for each method and column, by seed.

        A code with a length of its own stands in the columns of all lengths.
        """
        cells = defaultdict(lambda: defaultdict(dict))
        for row in rows:
            task = row["task"]
            lengths = self.bits if task["n_bits"] is None else [task["n_bits"]]
            for n_bits in lengths:
                if n_bits in self.bits:
                    column = (task["protocol"], task["condition"], n_bits)
                    cells[label_of(task)][column][task["seed"]] = row
        return cells

    def queries(self, row):
        """Read the average precision of each query."""
        name = row["queries"]
        if name not in self._queries:
            self._queries[name] = np.load(os.path.join(folder_beside(self.path, "queries"), f"{name}.npy")).astype(
                np.float32
            )
        return self._queries[name]

    def difference(self, ahead, behind):
        """Bootstrap what one cell is ahead of another, over the seeds that both have; None without any."""
        seeds = sorted(set(ahead) & set(behind))
        seeds = [seed for seed in seeds if ahead[seed]["task"]["split"] == behind[seed]["task"]["split"]]
        if not seeds:
            return None
        return paired_interval([self.queries(ahead[seed]) - self.queries(behind[seed]) for seed in seeds])

    def seconds(self):
        """Sum up what everything took: choosing, fitting, hashing and ranking."""
        total = 0.0
        for row in self.all_rows:
            total += row.get("seconds", 0.0) + row.get("score_seconds", 0.0)
            if "map" in row:
                total += (row["fit_seconds"] + row.get("hash_seconds", 0.0)) / row["shared_by"]
        return total


def _is_of(row, dataset, train, protocols):
    task = row["task"]
    return (task["dataset"], task["train_per_class"]) == (dataset, train) and task["protocol"] in protocols


def label_of(task):
    return task["method"] + (f", {task['variant']}" if task["variant"] else "")


def mean_of(cell):
    return statistics.mean(row["map"] for row in cell.values())


def columns_of(cells):
    """Name the columns of a table in their order."""
    found = {column for by_column in cells.values() for column in by_column}
    protocols = [protocol for group in TABLES for protocol in group]

    def order(column):
        protocol, condition, n_bits = column
        number = next((float(word) for word in condition.split() if word.replace(".", "", 1).isdigit()), 0.0)
        return protocols.index(protocol), n_bits, condition == "attacked", number, condition

    return sorted(found, key=order)


def ordered(cells, columns):
    """List methods, best first: by the mean over the columns of the first protocol."""
    first = [column for column in columns if column[0] == columns[0][0]]

    def score(label):
        scores = [mean_of(cells[label][column]) for column in first if column in cells[label]]
        return statistics.mean(scores) if scores else 0.0

    return sorted(cells, key=lambda label: -score(label))


def _header(columns):
    several = len({protocol for protocol, _, _ in columns}) > 1
    names = []
    for protocol, condition, n_bits in columns:
        where = protocol if several else condition
        names.append(f"{where}, {n_bits}" if where else str(n_bits))
    return names


def table_of_means(cells, columns):
    lines = [["method", *_header(columns), "fit s", "choose s"]]
    for label in ordered(cells, columns):
        texts = []
        for column in columns:
            scores = [row["map"] for row in cells[label].get(column, {}).values()]
            spread = f" ± {_points(statistics.stdev(scores))}" if len(scores) > 1 else ""
            texts.append(f"{_points(statistics.mean(scores))}{spread}" if scores else "")
        own = [row for cell in cells[label].values() for row in cell.values()]
        seconds = [f"{statistics.median(row[name] for row in own):.1f}" for name in ("fit_seconds", "tune_seconds")]
        lines.append([label, *texts, *seconds])
    return lines


def table_of_differences(results, cells, columns, against):
    lines = [[f"{against} less", *_header(columns)]]
    for label in ordered(cells, columns):
        if label == against:
            continue
        texts = []
        for column in columns:
            chosen, other = cells[against].get(column), cells[label].get(column)
            found = results.difference(chosen, other) if chosen and other else None
            texts.append("" if found is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in found)))
        lines.append([label, *texts])
    return lines


def _points(value):
    return f"{100 * value:.1f}"


def as_markdown(table):
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def as_rst(table):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for cells in table:
        lines += [f"   {'* -' if number == 0 else '  -'} {cell}".rstrip() for number, cell in enumerate(cells)]
    return "\n".join(lines)


def sections(results, against):
    """Make the titles, remarks and tables of all groups.

    Returns
    -------
    found : list of tuple
        Title, remark and table of each.
    """
    found = []
    for dataset, train, protocols, cells in results.groups():
        columns = columns_of(cells)
        n_seeds = max(len(cell) for by_column in cells.values() for cell in by_column.values())
        title = f"{dataset}, {train} training rows a class at most: {', '.join(protocols)}"
        remark = "; ".join(f"{protocol}: {TITLES[protocol]}" for protocol in protocols)
        remark = (
            f"{remark[0].upper()}{remark[1:]}. Columns are code lengths in bits. Tie-aware mAP@ALL in %, mean and "
            f"standard deviation over {n_seeds} {'seed' if n_seeds == 1 else 'seeds'}; median seconds of a fit, and of "
            "choosing its settings."
        )
        found.append((title, remark, table_of_means(cells, columns)))
        if against in cells:
            remark = (
                f"Points of mAP that {against} is ahead, paired by query, with intervals of 95 % of a bootstrap over "
                f"seeds and the queries of each ({N_RESAMPLES} resamples, percentiles)."
            )
            found.append((f"{title}, differences", remark, table_of_differences(results, cells, columns, against)))
    return found


def closing_line(results):
    line = f"All together took {results.seconds():,.0f} seconds of one thread: choosing, fitting, hashing and ranking."
    if results.refused:
        names = dict.fromkeys(f"{label_of(row['task'])} ({row['refused']})" for row in results.refused)
        line += f" Refused: {'; '.join(names)}"
    return line
