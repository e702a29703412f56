"""`ser models`: the bundles that are here."""

from typing import Annotated

import typer


def command(
    bundle: Annotated[str | None, typer.Argument(help="Show the card of this bundle, by name or path.")] = None,
) -> None:
    """Lists the shipped bundles, or shows the card of one."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from ser_batch.bundles import find_bundle, load_bundle, read_json, shipped_bundles

    console = Console()
    if bundle:
        console.print(Markdown((find_bundle(bundle) / "README.md").read_text(encoding="utf-8")))
        return
    table = Table("bundle", "model id", "labels", "test UAR", "licence")
    for folder in shipped_bundles():
        loaded, metrics = load_bundle(str(folder)), read_json(folder / "metrics.json")
        scores = "\n".join(
            f"{corpus}: {conditions['clean']['uar']:.1%}" for corpus, conditions in metrics["test"].items()
        )
        table.add_row(loaded.name, loaded.model_id, ", ".join(loaded.labels), scores, loaded.licence)
    console.print(table)
