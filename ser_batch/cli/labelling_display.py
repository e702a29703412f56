"""The state of labelling on the terminal."""

from typing import Any

from rich.table import Table

from ser_batch.cli.terminal import Terminal


def print_status(status: dict[str, Any]) -> None:
    """Print how many clips are labelled, by whom, and how far labellers agree."""
    console = Terminal(highlight=False)
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
            name, f"{own['labelled']}", f"{own['skipped']}", f"{own['unusable']}"
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
        console.print(f"  {one} or {other}: labellers differ {pair['times']} times")


def _alpha(found: dict[str, float] | None) -> tuple[str, str]:
    if found is None:
        return "–", ""
    return f"{found['value']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}"
