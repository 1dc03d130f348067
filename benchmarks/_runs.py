"""Benchmarks that go on where they were stopped: a file with a line for each outcome."""

import json
import os


class Run:
    """The lines of a file, each the outcome of a task; a task that has one is not done again."""

    def __init__(self, path):
        self.path = path
        self.rows = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                # What follows the last line break is incomplete.
                lines = file.read().split("\n")[:-1]
            self.rows = {self._key(row["task"]): row for row in map(json.loads, lines)}

    @staticmethod
    def _key(task):
        return json.dumps(task, sort_keys=True)

    def has(self, task):
        """Say whether there is an outcome of a task."""
        return self._key(task) in self.rows

    def get(self, task, function):
        """Look up the outcome of a task, or do it and add a line."""
        key = self._key(task)
        if key not in self.rows:
            self.rows[key] = {"task": task, **function()}
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(self.rows[key]) + "\n")
        return self.rows[key]


def drop_incomplete_line(path):
    """Cut off what a run that was killed had written of a line."""
    if os.path.exists(path):
        with open(path, "r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def folder_beside(path, kind):
    """Name the folder for what does not fit into the lines of a file."""
    return f"{os.path.splitext(path)[0]}.{kind}"
