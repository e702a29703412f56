"""`ser models`: list the models, show the card of one, add a large one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ser_batch.cli import help_pages
from ser_batch.errors import BundleError

app = typer.Typer(
    cls=help_pages.Group,
    no_args_is_help=True,
    help="The models at hand, and checkpoints of transformers.",
)


@app.command(**help_pages.command("models list"))
def list_command() -> None:
    """List the shipped models, and those that were added."""
    from ser_batch.cli.terminal import Terminal
    from ser_batch.emotion.bundle_files import added_bundles, shipped_bundles

    console = Terminal()
    for folder in (*shipped_bundles(), *added_bundles()):
        try:
            console.print(_listed(folder))
        except BundleError as error:
            typer.secho(f"{folder.name}: {error}", err=True, fg="red")
    console.print("Next: ser models show NAME prints the card of a model", style="dim")


@app.command(**help_pages.command("models show"))
def show_command(
    bundle: Annotated[str, typer.Argument(help="A model, by name or path.")],
) -> None:
    """Show the card of a model: its data, its licence, its figures."""
    from rich.markdown import Markdown

    from ser_batch.cli.terminal import Terminal
    from ser_batch.emotion.bundle_files import find_bundle

    path = find_bundle(bundle) / "README.md"
    try:
        card = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}", path=path) from error
    Terminal().print(Markdown(card))


@app.command(**help_pages.command("models add"))
def add_command(
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of a checkpoint, or its name on the Hugging Face Hub, from "
            "which it is downloaded once."
        ),
    ],
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="LABEL=LABEL",
            help="What one of its labels is called here; repeatable.",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Revision on the hub. Default: the newest.")
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="Where its speed is measured: auto, cpu, cuda or cuda:N."),
    ] = "auto",
) -> None:
    """Add a checkpoint of transformers as a model.

    Wav2Vec2, HuBERT, WavLM, UniSpeech, Whisper and AST for audio classification, and
    audeering's model of arousal, dominance and valence. It needs the extra `large`.
    """
    from rich.text import Text

    from ser_batch.cli.terminal import Terminal
    from ser_batch.emotion.loading import require_transformers
    from ser_batch.training.corpora.relabelling import parse_label_map

    require_transformers("ser models add")
    from ser_batch.training.checkpoints.adding import add_checkpoint

    added = add_checkpoint(name, source, parse_label_map(map_), device, revision)
    console = Terminal()
    console.print(_listed(added.bundle.folder))
    for own, heard_as in zip(added.own_names, added.bundle.heard_as, strict=True):
        renamed = f"  {own} → {heard_as}" if own != heard_as else f"  {own}"
        console.print(Text(renamed))
    if added.unmapped:
        kept = ", ".join(added.unmapped)
        console.print(
            Text(
                f"Not one of the common labels, and kept: {kept}; --map LABEL=LABEL "
                "renames them"
            )
        )
    console.print(
        f"Next: ser analyze calls/ --bundle {name} --out {name}-results/", style="dim"
    )


def _listed(folder: Path) -> Any:
    from rich.table import Table
    from rich.text import Text

    from ser_batch.emotion.bundle_files import read_json
    from ser_batch.emotion.bundles import load_bundle

    loaded, metrics = load_bundle(str(folder)), read_json(folder / "metrics.json")
    grid = Table(
        box=None,
        show_header=False,
        title=loaded.name,
        title_justify="left",
        title_style="bold",
    )
    rows = [
        ("model id", loaded.model_id),
        ("labels", ", ".join(loaded.labels) or "none: dimensions only"),
        *_figures(metrics),
        ("licence", loaded.licence),
    ]
    for what, text in rows:
        grid.add_row(what, Text(text))
    return grid


def _figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if metrics.get("test"):
        scores = ", ".join(
            f"{metrics['corpora'][corpus]['title']} {conditions['clean']['uar']:.1%}"
            for corpus, conditions in metrics["test"].items()
        )
        yield "test UAR", scores
    if left_out := metrics.get("left_out"):
        names = ", ".join(left_out["corpora"])
        mean = left_out["mean"]["clean, balanced"]["network"]["uar"]
        yield "held-out corpora", f"UAR of four labels {mean:.1%} (mean over {names})"
    if speed := metrics.get("speed"):
        yield "source", metrics["source"]
        yield (
            "speed",
            f"{speed['speech_s_per_s']:g} s of speech in a second on {speed['device']}",
        )
