"""`ser models`: list the shipped bundles."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer


def command(
    bundle: Annotated[
        str | None,
        typer.Argument(help="Show the card of this bundle, by name or path."),
    ] = None,
) -> None:
    """List the shipped bundles, or show the card of one."""
    from rich.markdown import Markdown
    from rich.table import Table

    from ser_batch.cli.terminal import Terminal
    from ser_batch.emotion.bundle_files import find_bundle, read_json, shipped_bundles
    from ser_batch.emotion.bundles import load_bundle

    console = Terminal()
    if bundle:
        console.print(
            Markdown((find_bundle(bundle) / "README.md").read_text(encoding="utf-8"))
        )
        return
    for folder in shipped_bundles():
        loaded, metrics = load_bundle(str(folder)), read_json(folder / "metrics.json")
        grid = Table(
            box=None,
            show_header=False,
            title=loaded.name,
            title_justify="left",
            title_style="bold",
        )
        grid.add_row("model id", loaded.model_id)
        grid.add_row("labels", ", ".join(loaded.labels))
        for what, figure in _figures(metrics):
            grid.add_row(what, figure)
        grid.add_row("licence", loaded.licence)
        console.print(grid)
    console.print("Next: ser models NAME shows the card of a bundle", style="dim")


def _figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if metrics["test"]:
        scores = ", ".join(
            f"{metrics['corpora'][corpus]['title']} {conditions['clean']['uar']:.1%}"
            for corpus, conditions in metrics["test"].items()
        )
        yield "test UAR", scores
    if left_out := metrics.get("left_out"):
        names = ", ".join(left_out["corpora"])
        mean = left_out["mean"]["clean, balanced"]["network"]["uar"]
        yield "held-out corpora", f"UAR of four labels {mean:.1%} (mean over {names})"
