"""Recipes, corpora and metrics on the terminal."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table

from ser_batch.cli.terminal import Terminal

if TYPE_CHECKING:
    from ser_batch.training.corpora.clips import Clip, Corpus
    from ser_batch.training.data.statistics import LabelStatistics
    from ser_batch.training.data.utterances import Utterance

SHOWN = 5
"""Number of names printed of a long list."""


def print_recipes() -> None:
    """Print every shipped recipe: what it is, its source, and the source's claim."""
    from ser_batch.training.recipe import shipped_recipes

    console = Terminal()
    for name, recipe in shipped_recipes():
        console.print(name, style="bold")
        for text in (
            recipe.about,
            " ".join(recipe.source.split()),
            recipe.claim and f"Claimed: {recipe.claim}.",
        ):
            if text:
                console.print(Padding(text, (0, 0, 0, 2)), highlight=False)
    console.print("Next: ser train ravdess=DIR --recipe NAME --out FOLDER", style="dim")


def print_corpus(
    corpus: "Corpus",
    utterances: Sequence["Utterance"],
    broken: Mapping["Clip", str],
    twins: Sequence[tuple["Clip", "Clip"]],
    sample_rate: int,
) -> None:
    """Print the contents of a corpus (clips, speakers, labels) and its problems."""
    console = Terminal()
    sexes = Counter({clip.speaker: clip.sex for clip in corpus.clips}.values())
    speakers = ", ".join(
        f"{n} {name}"
        for name, n in (
            (("women"), sexes["f"]),
            ("men", sexes["m"]),
            ("of unknown sex", sexes[""]),
        )
        if n
    )
    n_samples = sum(len(utterance.waveform) for utterance in utterances)
    hours = n_samples / sample_rate / 3600
    console.print(f"[bold]{corpus.title}[/bold]  {corpus.licence}", highlight=False)
    of = f" of {corpus.n_published}" if corpus.n_published else ""
    rows = Table(box=None, show_header=False, padding=(0, 1))
    rows.add_row("clips", f"{len(corpus.clips)}{of}, {hours:.2f} h")
    rows.add_row("speakers", f"{len(corpus.speakers)}: {speakers}")
    labels = Counter(clip.label for clip in corpus.clips)
    rows.add_row(
        "labels", ", ".join(f"{label} {labels[label]}" for label in corpus.labels)
    )
    if corpus.folds:
        rows.add_row(
            "folds",
            " ".join(
                f"{len(fold & set(corpus.speakers))}/{len(fold)}"
                for fold in corpus.folds
            ),
        )
    for what, names in (
        ("missing", corpus.missing),
        ("duplicated", corpus.repeated),
        ("other audio", corpus.foreign),
        ("unreadable", [f"{clip.source}: {error}" for clip, error in broken.items()]),
        (
            "identical",
            [f"{twin.source} and {first.source.inner.name}" for twin, first in twins],
        ),
    ):
        if names:
            more = f"\n... and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            rows.add_row(what, f"{len(names)}:\n" + "\n".join(names[:SHOWN]) + more)
    console.print(rows, highlight=False, markup=False)


def print_acoustics(
    labels: Sequence["LabelStatistics"], doubtful_sexes: Sequence[str]
) -> None:
    """Print length, level and pitch by label, and speakers of doubtful sex."""
    console = Terminal()
    table = Table(box=None, header_style="dim", padding=(0, 1))
    table.add_column("median of")
    for name in ("clips", "length", "level", "pitch"):
        table.add_column(name, justify="right")
    for s in labels:
        table.add_row(
            s.label,
            f"{s.clips}",
            f"{s.length_s:.1f} s",
            f"{s.level_dbfs:.0f} dBFS",
            f"{s.pitch_hz:.0f} Hz",
        )
    console.print(table)
    if doubtful_sexes:
        shown = ", ".join(doubtful_sexes[:SHOWN])
        more = f", and {len(doubtful_sexes) - SHOWN} more"
        if len(doubtful_sexes) <= SHOWN:
            more = ""
        console.print(f" pitch does not match the sex: {shown}{more}", highlight=False)


def print_tests(metrics: Mapping[str, Any]) -> None:
    """Print test metrics by corpus and condition, and how training time was spent."""
    console = Terminal()
    console.print(metrics["protocol"], highlight=False)
    print_figures(metrics["test"], console)
    seconds = metrics["seconds"]
    if total := sum(seconds.values()):
        shares = ", ".join(
            f"{name} {value / total:.0%}" for name, value in seconds.items()
        )
        console.print(f"time in training: {shares}", style="dim", highlight=False)


def print_held_out(figures: Mapping[str, Any]) -> None:
    """Print one row per held-out corpus and condition, and their means."""
    table = Table(box=None, header_style="dim", padding=(0, 1, 0, 0), pad_edge=False)
    for name in (
        "held out",
        "condition, place",
        "test clips",
        "UAR",
        "anger",
        "arousal",
        "ECE",
        "functionals",
    ):
        is_text = name in ("held out", "condition, place")
        table.add_column(name, justify="left" if is_text else "right")

    def auc(own: Mapping[str, float], name: str) -> str:
        return f"{own[name]:.3f}" if name in own else "–"

    for corpus, conditions in {**figures["corpora"], "mean": figures["mean"]}.items():
        for condition, models in conditions.items():
            own, reference = models["network"], models["functionals"]
            table.add_row(
                corpus, condition, str(own.get("clips", "")), f"{100 * own['uar']:.1f}",
                auc(own, "anger_auc"), auc(own, "arousal_auc"), f"{own['ece']:.3f}",
                f"{100 * reference['uar']:.1f}",
            )  # fmt: skip
    console = Terminal()
    console.print(table)
    console.print(
        "four labels; UAR in % (chance: 25); anger, arousal: AUC", style="dim"
    )


def print_figures(test: Mapping[str, Mapping[str, Any]], console: Terminal) -> None:
    """Print one row per corpus and condition."""
    table = Table(box=None, header_style="dim", padding=(0, 1, 0, 0), pad_edge=False)
    for name in (
        "corpus",
        "condition",
        "clips",
        "UAR",
        "95 %",
        "sd",
        "acc.",
        "acc. at 70 %",
        "F1",
        "ECE",
    ):
        table.add_column(
            name,
            justify="left" if name in ("corpus", "condition") else "right",
            no_wrap=True,
        )
    for corpus, conditions in test.items():
        for condition, m in conditions.items():
            low, high = m["intervals_95"].get("uar", (None, None))
            table.add_row(
                corpus, condition.replace(", ", "+"), str(m["clips"]),
                f"{100 * m['uar']:.1f}",
                "–" if low is None else f"{100 * low:.0f}-{100 * high:.0f}",
                f"{100 * m['uar_sd']:.1f}" if "uar_sd" in m else "–",
                f"{100 * m['accuracy']:.1f}",
                f"{100 * m['accuracy_by_coverage']['0.7']:.1f}",
                f"{100 * m['macro_f1']:.1f}", f"{m['ece']:.3f}",
            )  # fmt: skip
    console.print(table)
    console.print(
        "UAR, accuracy and macro-F1 in %; 95 %: bootstrap over speakers; sd: of UAR "
        "over folds and seeds; at 70 %: on the 70 % of clips that the model is most "
        "certain of",
        style="dim",
        highlight=False,
    )


def print_confusion(
    title: str, m: Mapping[str, Any], labels: Sequence[str], console: Terminal
) -> None:
    """Print a confusion matrix in % of each true label, with precision and recall."""
    table = Table(
        title=title,
        title_justify="left",
        box=None,
        header_style="dim",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("true \\ predicted, %")
    for label in (*(label[:6] for label in labels), "recall", "precision"):
        table.add_column(label, justify="right")
    for label, row in zip(labels, m["confusion"], strict=True):
        if total := sum(row):
            shares = [f"{100 * n / total:.0f}" if n else "·" for n in row]
            precision = (
                f"{100 * m['precision'][label]:.0f}" if label in m["precision"] else "–"
            )
            table.add_row(label, *shares, f"{100 * m['recall'][label]:.0f}", precision)
    console.print(table)


def comparison_rows(
    metrics: Mapping[str, Mapping[str, Any]], condition: str
) -> list[dict[str, Any]]:
    """Return one row per bundle and corpus tested in a condition.

    The same condition with context or a profile gets a row as well.
    """
    rows = []
    for name, values in metrics.items():
        for corpus, conditions in values.get("test", {}).items():
            for variant in ("", ", context", ", profile"):
                if m := conditions.get(condition + variant):
                    rows.append(
                        {
                            "bundle": name, "corpus": corpus,
                            "condition": condition + variant,
                            "split": values.get("split", "evaluation"),
                            "clips": m["clips"], "uar": m["uar"],
                            "uar_sd": m.get("uar_sd"),
                            "uar_95": m.get("intervals_95", {}).get("uar"),
                            "accuracy": m["accuracy"],
                            "macro_f1": m["macro_f1"], "ece": m["ece"],
                            "parameters": values.get("parameters"),
                            "mflop_per_s": values.get("mflop_per_s"),
                        }
                    )  # fmt: skip
        rows += _adapted_rows(name, values.get("adapted", {}))
    return rows


def _adapted_rows(name: str, adapted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what adapting a bundle gained, on recordings that it was not fitted to."""
    for when in ("before", "after") if adapted else ():
        m = adapted[when]
        yield {
            "bundle": name, "corpus": f"own calls, {when} adapting",
            "condition": "labelled", "split": "recordings",
            "clips": m["clips"], "uar": m["uar"], "uar_sd": None,
            "uar_95": m["intervals_95"]["uar"], "accuracy": m["accuracy"],
            "macro_f1": None, "ece": m["ece"], "parameters": None, "mflop_per_s": None,
        }  # fmt: skip


def print_comparison(rows: Sequence[Mapping[str, Any]], markdown: bool) -> None:
    """Print the rows as a table, for the terminal or in Markdown."""
    names = (
        "bundle",
        "corpus",
        "condition",
        "split",
        "clips",
        "UAR %",
        "sd",
        "accuracy %",
        "macro-F1",
        "ECE",
        "parameters",
    )
    cells = [
        (
            row["bundle"], row["corpus"], row["condition"], row["split"],
            str(row["clips"]), f"{100 * row['uar']:.1f}",
            "–" if row["uar_sd"] is None else f"{100 * row['uar_sd']:.1f}",
            f"{100 * row['accuracy']:.1f}",
            "–" if row["macro_f1"] is None else f"{row['macro_f1']:.3f}",
            f"{row['ece']:.3f}",
            "–" if row["parameters"] is None else f"{row['parameters']:,}",
        )
        for row in rows
    ]  # fmt: skip
    if markdown:
        lines = [
            names,
            tuple("---" if i < 4 else "---:" for i in range(len(names))),
            *cells,
        ]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return
    # All rows share the condition, which becomes the title; a context or a profile is
    # marked on the corpus.
    condition = rows[0]["condition"].partition(",")[0]
    table = Table(
        title=condition,
        title_justify="left",
        box=None,
        header_style="dim",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for i, name in enumerate(names):
        if name != "condition":
            table.add_column(
                name.replace("accuracy", "acc."),
                justify="left" if i < 4 else "right",
                no_wrap=True,
            )
    for row, line in zip(rows, cells, strict=True):
        _, comma, variant = row["condition"].partition(", ")
        corpus = f"{line[1]}+{variant}" if comma else line[1]
        table.add_row(line[0], corpus, *line[3:])
    console = Terminal()
    console.print(table)
    if any(row["split"] == "random" for row in rows):
        console.print(
            "random: clips of the same speaker are on both sides of the split",
            style="dim",
            highlight=False,
        )
