"""Labels, and what they say of a model, on the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from ser_batch.cli.terminal import Terminal
from ser_batch.cli.training_display import print_confusion
from ser_batch.text import counted

if TYPE_CHECKING:
    from ser_batch.training.adapting.adapted_bundle import Adapted


def print_status(status: dict[str, Any]) -> None:
    """Print how many clips are labelled, by whom, and how far labellers agree."""
    # Names of labellers may look like markup.
    console = Terminal(highlight=False, markup=False)
    console.print(
        f"{status['with_a_label']:,} of {status['clips']:,} clips have a label "
        f"({status['at_random']:,} clips were drawn at random), from "
        f"{status['recordings']:,} recordings"
    )
    for key, what in (
        ("unusable", "not to be used"),
        ("no_majority", "without a label that most labellers gave"),
        ("answers_to_other_clips", "answers to clips that are not here, left out"),
    ):
        if status[key]:
            console.print(f"  {status[key]:,} {what}")
    table = Table(box=None, header_style="dim", padding=(0, 1))
    table.add_column("labeller")
    for name in ("labelled", "skipped", "not to be used"):
        table.add_column(name, justify="right")
    for name, own in status["labellers"].items():
        table.add_row(
            escape(name),
            f"{own['labelled']}",
            f"{own['skipped']}",
            f"{own['unusable']}",
        )
    if status["labellers"]:
        console.print(table)
    table = Table(box=None, header_style="dim", padding=(0, 1))
    for name in ("label", "clips", "alpha", "95 %"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for name, n in status["labels"].items():
        table.add_row(name, f"{n}", *_alpha(status["alpha_by_label"][name]))
    table.add_row(
        "all", f"{status['with_a_label']}", *_alpha(status["alpha"]), style="bold"
    )
    console.print(table)
    if status["alpha"] is None:
        console.print(
            "alpha needs clips that two labellers have labelled "
            f"({status['both_labelled']} so far): it says how far labels can be trusted"
        )
    for pair in status["confused"]:
        one, other = pair["labels"]
        console.print(f"  {one} and {other}: confused {pair['times']} times")


def _alpha(found: dict[str, float | None] | None) -> tuple[str, str]:
    if found is None:
        return "–", ""
    if found["low"] is None:
        return f"{found['value']:.2f}", "–"
    return f"{found['value']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}"


def print_own_calls(
    evaluation: Mapping[str, Any], alert: tuple[str, float] | None
) -> None:
    """Print how good a bundle is on a centre's own calls."""
    console = Terminal(highlight=False)
    figures = evaluation["test"]["own calls"]["labelled"]
    console.print(f"[bold]{evaluation['model_id']} on your own calls[/bold]")
    console.print(evaluation["protocol"], style="dim")
    table = Table(box=None, header_style="dim", padding=(0, 1), show_header=False)
    intervals = figures["intervals_95"]
    table.add_row(
        f"UAR, {figures['uar_labels']} labels",
        *_share(figures["uar"], intervals["uar"]),
    )
    table.add_row("accuracy", *_share(figures["accuracy"], intervals["accuracy"]))
    if evaluation["ceiling"]:
        table.add_row(
            "UAR of one labeller", *_share(evaluation["ceiling"]["uar"], None),
            "by the labels of another: a model can hardly do better",
        )  # fmt: skip
    table.add_row("calibration error", f"{figures['ece']:.3f}")
    table.add_row(
        "gives a label to", *_share(figures["coverage"], None),
        "" if figures["accuracy_when_not_abstaining"] is None
        else f"of which {figures['accuracy_when_not_abstaining']:.0%} are right",
    )  # fmt: skip
    console.print(table)
    for sentence in evaluation["in_words"]:
        console.print(f"  {sentence}")
    print_confusion(
        "true and predicted, weighted to all segments", figures,
        evaluation["labels"], console,
    )  # fmt: skip
    if alert is None:
        return
    label, precision = alert
    if found := evaluation["alert"]:
        console.print(
            f"An alert on {label} from a probability of {found['threshold']:.2f} is "
            f"right in {found['precision']:.0%} of cases (at least "
            f"{found['precision_at_least']:.0%}, with 80 % confidence), and finds "
            f"{found['recall']:.0%} of the {label} segments. "
            f"{counted(found['segments_above'], 'labelled segment')} had as much."
        )
    else:
        console.print(
            f"These labels do not show that an alert on {label} can be right in "
            f"{precision:.0%} of cases. More labels may."
        )


def print_adapted(adapted: "Adapted", out: Path) -> None:
    """Print what came of adapting a bundle."""
    console = Terminal(highlight=False)
    table = Table(box=None, header_style="dim", padding=(0, 1))
    table.add_column("tried")
    table.add_column("UAR", justify="right")
    for method, uar in adapted.by_method.items():
        style = "bold" if method == adapted.method else None
        table.add_row(method, f"{uar:.1%}", style=style)
    console.print(
        f"{adapted.segments} labelled segments of {adapted.recordings} recordings; "
        "each method on recordings that it was not fitted to:"
    )
    console.print(table)
    if not adapted.is_written:
        console.print(
            "Nothing is better than the bundle as it is: none was written. More labels "
            "may help."
        )
        return
    between = ""
    if adapted.gain_95:
        low, high = adapted.gain_95
        between = f" (95 %: {100 * low:+.1f} to {100 * high:+.1f})"
    console.print(
        f"UAR {adapted.before['uar']:.1%} before, {adapted.after['uar']:.1%} after, on "
        f"recordings not used: {100 * adapted.gain:+.1f} points{between}"
    )
    if not adapted.is_proven:
        console.print(
            "The interval includes 0: that is no proof of a gain. More labels would "
            "tell."
        )
    console.print(f"Next: ser analyze CALLS --bundle {out} --out RESULTS")


def _share(value: float, interval: list[float] | None) -> tuple[str, str]:
    if interval is None:
        return f"{value:.0%}", ""
    return f"{value:.0%}", f"({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"
