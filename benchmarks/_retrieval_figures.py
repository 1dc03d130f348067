"""Figures and the page of `retrieval.py`."""

import os
import statistics

import numpy as np
from _retrieval_report import as_rst, closing_line, columns_of, mean_of, ordered, sections


def write_report(folder, results, against):
    """Write retrieval.rst, which a page of the docs can include, and its figures."""
    os.makedirs(folder, exist_ok=True)
    lines = []
    for title, remark, table in sections(results, against):
        lines += [title, "-" * len(title), "", remark, "", as_rst(table), ""]
    lines += [closing_line(results), ""]
    for name, caption in _draw_all(folder, results, against):
        lines += [f".. figure:: {name}", "", f"   {caption}", ""]
    with open(os.path.join(folder, "retrieval.rst"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


def _draw_all(folder, results, against):
    """Draw what the results allow, and return names and captions."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn = []
    for dataset, train, protocols, cells in results.groups():
        columns = columns_of(cells)
        look = _looks(ordered(cells, columns), against)
        found = {protocol for protocol, _, _ in columns}
        where = f"{dataset}, {train} training rows a class at most"
        pictures = [
            (f"map_{'_'.join(protocols)}", f"mAP against code length: {where}.", _draw_lengths),
        ]
        if "seen" in found:
            pictures += [
                ("precision_recall", f"Precision and recall within each Hamming radius, seen: {where}.", _draw_curves),
                ("time", f"Seconds of a fit against mAP, seen, longest code: {where}.", _draw_time),
            ]
        if found == {"seen", "unseen"}:
            pictures.append(("plane", f"Known classes against new ones: {where}.", _draw_plane))
        for kind, caption, draw in pictures:
            name = f"{dataset}_{train}_{kind}.png"
            figure = draw(plt, cells, columns, look)
            figure.savefig(os.path.join(folder, name), dpi=110)
            plt.close(figure)
            drawn.append((name, caption))
    return drawn


def _looks(labels, against):
    """Give each method a color, a line and a marker; the chosen one is thick and black."""
    markers = "osD^v<>pP*Xhd"
    looks = {}
    for number, label in enumerate(labels):
        looks[label] = {
            "color": f"C{number % 10}",
            "linestyle": ("-", "--", ":")[number // 10 % 3],
            "marker": markers[number % len(markers)],
            "linewidth": 1.4,
            "markersize": 5,
            "label": label,
        }
        if label == against:
            looks[label] |= {"color": "black", "linewidth": 3, "linestyle": "-", "zorder": 5}
    return looks


def _panels(plt, names, *, width=4.6, share=False):
    """Make a row of panels with a margin for names on the right."""
    figure, axes = plt.subplots(
        1,
        len(names),
        figsize=(width * len(names) + 2.4, 4.4),
        layout="constrained",
        squeeze=False,
        sharex=share,
        sharey=share,
    )
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name)
        axis.grid(alpha=0.3)
    return figure, axes[0]


def _name_once(figure, axes):
    handles = {handle.get_label(): handle for axis in axes for handle in axis.get_legend_handles_labels()[0]}
    figure.legend(handles=list(handles.values()), loc="outside right center", frameon=False, fontsize=8)


def _draw_lengths(plt, cells, columns, looks):
    panels = list(dict.fromkeys((protocol, condition) for protocol, condition, _ in columns))
    figure, axes = _panels(plt, [" ".join(filter(None, panel)) for panel in panels], width=3.8)
    for axis, panel in zip(axes, panels, strict=True):
        lengths = [n_bits for *found, n_bits in columns if tuple(found) == panel]
        for label, look in looks.items():
            points = [(n, mean_of(cells[label][*panel, n])) for n in lengths if (*panel, n) in cells[label]]
            if points:
                axis.plot(*zip(*points, strict=True), **look)
        axis.set_xscale("log", base=2)
        axis.set_xticks(lengths, [str(n) for n in lengths])
        axis.set_xlabel("bits")
    axes[0].set_ylabel("mAP@ALL")
    _name_once(figure, axes)
    return figure


def _draw_plane(plt, cells, columns, looks):
    lengths = sorted({n_bits for _, _, n_bits in columns})
    figure, axes = _panels(plt, [f"{n_bits} bits" for n_bits in lengths], share=True)
    for axis, n_bits in zip(axes, lengths, strict=True):
        for label, look in looks.items():
            found = [cells[label].get((protocol, "", n_bits)) for protocol in ("seen", "unseen")]
            if all(found):
                axis.plot(*([mean_of(cell)] for cell in found), **(look | {"linestyle": "none", "markersize": 8}))
        axis.set_xlabel("seen, mAP@ALL")
    axes[0].set_ylabel("unseen, mAP@ALL")
    _name_once(figure, axes)
    return figure


def _draw_curves(plt, cells, columns, looks):
    lengths = sorted({n_bits for protocol, _, n_bits in columns if protocol == "seen"})
    figure, axes = _panels(plt, [f"{n_bits} bits" for n_bits in lengths], share=True)
    for axis, n_bits in zip(axes, lengths, strict=True):
        for label, look in looks.items():
            rows = [row for row in cells[label].get(("seen", "", n_bits), {}).values() if "curve" in row]
            if rows:
                precision, recall = (np.mean([row["curve"][name] for row in rows], axis=0) for name in rows[0]["curve"])
                axis.plot(recall, precision, **(look | {"markersize": 3}))
        axis.set_xlabel("recall")
    axes[0].set_ylabel("precision")
    _name_once(figure, axes)
    return figure


def _draw_time(plt, cells, columns, looks):
    column = max((column for column in columns if column[0] == "seen"), key=lambda column: column[2])
    figure, axes = _panels(plt, [f"{column[2]} bits, seen"], width=5.5)
    for label, look in looks.items():
        cell = cells[label].get(column)
        if cell:
            seconds = statistics.median(row["fit_seconds"] for row in cell.values())
            axes[0].plot([max(seconds, 0.01)], [mean_of(cell)], **(look | {"linestyle": "none", "markersize": 8}))
    axes[0].set_xscale("log")
    axes[0].set_xlabel("seconds of a fit, one thread")
    axes[0].set_ylabel("mAP@ALL")
    _name_once(figure, axes)
    return figure
