"""The main plots of a report as PNG and SVG, for slides and print."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.groups import Figures
from ser_batch.reporting.figures.measures import Measure, share_names
from ser_batch.reporting.figures.overview import Report
from ser_batch.reporting.pages.palette import colours
from ser_batch.reporting.pages.wording import MAX_GROUPS, group_name, label_of
from ser_batch.text import printable

INK, LINE, LINE_COLOUR = "#1d2430", "#d9dee5", "#0b63a5"
DRAWN = ("distress_share", "angry_share", "valence", "silence_share")


def draw_plots(report: Report, folder: Path) -> list[Path]:
    """Write the plots for which there is data.

    They are called `emotions`, `quarters`, `trend`, `hours` and `groups`.

    Returns:
        The paths of the files.

    Raises:
        UsageError: the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, canvas in _canvases(report):
            for end in ("png", "svg"):
                path = folder / f"{name}.{end}"
                # Keep text as text in an SVG, and make the file reproducible.
                with (
                    matplotlib.rc_context(
                        {"svg.fonttype": "none", "svg.hashsalt": "ser"}
                    ),
                    warnings.catch_warnings(),
                ):
                    warnings.filterwarnings(
                        "ignore", "Glyph"
                    )  # names may need characters that the font lacks
                    canvas.savefig(
                        path, dpi=150, metadata={"Date": None} if end == "svg" else None
                    )
                written.append(path)
    except OSError as error:
        raise UsageError(
            f"--plots {folder}: cannot be written: {error.strerror or error}; choose "
            "another folder"
        ) from error
    return written


def _canvases(report: Report) -> Iterator[tuple[str, Canvas]]:
    if report.shares():
        yield "emotions", _emotions(report)
        yield "quarters", _quarters(report)
    if len(report.days) > 1:
        yield (
            "trend",
            _lines(
                report,
                report.days,
                "day" if "W" not in next(iter(report.days)) else "week",
            ),
        )
    if len(report.hours) > 1:
        yield (
            "hours",
            _lines(
                report,
                {f"{key:02}": group for key, group in report.hours.items()},
                "hour of the day",
            ),
        )
    if report.groups:
        yield "groups", _groups(report)


def _canvas(rows: int = 1, height: float = 4.0) -> tuple[Canvas, list[Axes]]:
    canvas = Canvas(figsize=(8, height), layout="constrained")
    axes = canvas.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="both", color=LINE, linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(colors=INK)
    return canvas, list(axes)


def _plain(text: object) -> str:
    """Escape a text, so that it is valid in an SVG and not parsed as mathematics."""
    return printable(str(text)).replace("$", r"\$")


def _percent(axis: Axes, which: str, measure: Measure) -> None:
    if measure.kind == "share":
        getattr(axis, f"{which}axis").set_major_formatter(
            matplotlib.ticker.PercentFormatter(1, decimals=None)
        )


def _emotions(report: Report) -> Canvas:
    canvas, (axis,) = _canvas()
    shares = sorted(report.shares().items(), key=lambda item: item[1])
    paint = colours(report.labels)
    for label, share in shares:
        figure = report.total[share_names(report.labels)[label]]
        error = (
            None
            if figure.low is None or figure.high is None
            else [[share - figure.low], [figure.high - share]]
        )
        axis.barh(
            _plain(label),
            share,
            color=paint[label],
            edgecolor=INK,
            linewidth=0.4,
            xerr=error,
            ecolor=INK,
            capsize=3,
        )
    axis.set_title("Emotions, by probability and speech time (95 %)", loc="left")
    axis.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
    return canvas


def _quarters(report: Report) -> Canvas:
    canvas, (axis,) = _canvas()
    there = [
        (name, q)
        for name, q in zip(
            ("first", "second", "third", "last"), report.quarters, strict=True
        )
        if q
    ]
    bottom = [0.0] * len(there)
    for label, colour in colours(report.labels).items():
        height = [q.shares[label] for _, q in there]
        axis.bar(
            [name for name, _ in there],
            height,
            bottom=bottom,
            color=colour,
            label=_plain(label),
            edgecolor="white",
            linewidth=0.5,
        )
        bottom = [a + b for a, b in zip(bottom, height, strict=True)]
    axis.set_title("Emotions by quarter of the call", loc="left")
    axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, reverse=True)
    return canvas


def _lines(report: Report, groups: dict[str, Figures], what: str) -> Canvas:
    known = [
        name
        for name in DRAWN
        if name in report.measures and report.total[name].value is not None
    ]
    names = known or ["failed_share"]
    canvas, axes = _canvas(len(names), 1.2 + 1.6 * len(names)) if names else _canvas()
    for axis, name in zip(axes, names, strict=True):
        measure = report.measures[name]
        drawn = [
            group[name] for group in groups.values()
        ]  # missing values leave a gap in the line
        axis.plot(
            [f.value if f.value is not None else float("nan") for f in drawn],
            color=LINE_COLOUR,
            marker="o",
            ms=4,
        )
        for i, figure in enumerate(drawn):
            if figure.low is not None and figure.high is not None:
                axis.vlines(
                    i,
                    figure.low,
                    figure.high,
                    color=LINE_COLOUR,
                    alpha=0.35,
                    linewidth=5,
                )
        axis.set_ylabel(label_of(measure))
        _percent(axis, "y", measure)
    step = max(1, len(groups) // 10)
    axes[-1].set_xticks(
        range(0, len(groups), step), list(groups)[::step], rotation=30, ha="right"
    )
    axes[0].set_title(f"By {what} (95 %)", loc="left")
    return canvas


def _groups(report: Report) -> Canvas:
    measure = report.measures["distress_share"]
    known = [
        (key, g)
        for key, g in report.groups.items()
        if g[measure.name].value is not None
    ]
    known = sorted(known, key=lambda item: item[1][measure.name].value or 0)[
        -MAX_GROUPS:
    ]
    canvas, (axis,) = _canvas(height=1.5 + 0.32 * len(known))
    for i, (_, group) in enumerate(known):
        figure = group[measure.name]
        if figure.low is not None and figure.high is not None:
            axis.hlines(i, figure.low, figure.high, color=INK, linewidth=1.5)
        axis.plot(figure.value or 0.0, i, "o", color=LINE_COLOUR)
    names = [f"{group_name(key)[:40]} ({group.recordings:,})" for key, group in known]
    axis.set_yticks(range(len(known)), [_plain(name) for name in names])
    axis.set_title(_plain(f"Distress share by {report.by} (calls; 95 %)"), loc="left")
    axis.set_xlim(left=0)
    _percent(axis, "x", measure)
    return canvas
