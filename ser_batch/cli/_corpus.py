"""`ser corpus check`: inspect a corpus before training."""

from typing import Annotated

import typer

from ser_batch.cli import help_pages
from ser_batch.errors import ExitCode

SAMPLE_RATE = 8000

app = typer.Typer(
    cls=help_pages.Group,
    no_args_is_help=True,
    help="Inspect emotion corpora, as read by ser train.",
)


@app.callback()
def _corpus() -> None: ...


@app.command(**help_pages.command("corpus check"))
def command(
    corpora: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PATH...",
            help="Corpora, as for ser train; known corpora need no NAME.",
        ),
    ],
) -> None:
    """Read corpora with all their clips, and show their contents and problems.

    Lists missing, unreadable and identical clips, and shows length, level and pitch by
    label. Exits with code 3 if a clip is missing or cannot be read.
    """
    from functools import partial

    from tqdm import tqdm

    from ser_batch.cli.training_display import print_acoustics, print_corpus
    from ser_batch.training.corpora.readers import read_corpora
    from ser_batch.training.data.material import duplicates
    from ser_batch.training.data.statistics import (
        by_label,
        clip_statistics,
        doubtful_sexes,
    )
    from ser_batch.training.data.utterances import load_utterances

    complete = True
    for corpus in read_corpora(corpora):
        bar = partial(tqdm, desc=corpus.title, unit="clip", leave=False)
        utterances, broken = load_utterances(corpus.clips, SAMPLE_RATE, False, bar)
        statistics = [clip_statistics(u.waveform, SAMPLE_RATE) for u in utterances]
        twins = duplicates(utterances)
        print_corpus(corpus, utterances, broken, twins, SAMPLE_RATE)
        print_acoustics(
            by_label(utterances, statistics), doubtful_sexes(utterances, statistics)
        )
        complete = complete and not (broken or corpus.missing)
    if not complete:
        raise typer.Exit(ExitCode.SOME_FAILED)
