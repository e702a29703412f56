"""`ser corpus check`: what a reader sees in a corpus."""

from typing import Annotated

import typer

from ser_batch.errors import ExitCode

app = typer.Typer(
    no_args_is_help=True, help="Emotion corpora, as ser train reads them."
)


@app.callback()
def _corpus() -> None: ...


@app.command("check")
def command(
    corpora: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PATH...",
            help="Corpora, as for ser train; a known one needs no NAME.",
        ),
    ],
) -> None:
    """Reads corpora and every clip of theirs, and says what is there, missing, broken or there twice.

    Leaves with 3 if a clip cannot be read or is missing.
    """
    from functools import partial

    from tqdm import tqdm

    from ser_batch.cli.training_display import print_corpus
    from ser_batch.training.corpora.readers import read_corpora
    from ser_batch.training.data.material import duplicates
    from ser_batch.training.data.utterances import load_utterances

    complete = True
    for corpus in read_corpora(corpora):
        bar = partial(tqdm, desc=corpus.title, unit="clip", leave=False)
        utterances, broken = load_utterances(corpus.clips, 8000, False, bar)
        print_corpus(corpus, utterances, broken, duplicates(utterances))
        complete = complete and not (broken or corpus.missing)
    if not complete:
        raise typer.Exit(ExitCode.SOME_FAILED)
