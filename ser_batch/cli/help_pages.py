"""What the help of a command ends with: two examples, and its page in the docs."""

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "analyze": ("how-to/every-night.md", (
        "ser analyze calls/ --roles agent,customer --out results/",
        "ser analyze mono/ --roles agent,customer --agent-is first --out mono-results/",
    )),
    "report": ("how-to/reports.md", (
        "ser report results/ --period last-week --compare previous --by queue",
        "ser report results/ --html report.html --copy-audio clips",
    )),
    "export": ("how-to/reports.md", (
        "ser export results/ --to xlsx --out calls.xlsx",
        "ser export results/ --to results --hash-paths KEY --out copy/",
    )),
    "verify": ("how-to/every-night.md", (
        "ser verify results/",
        "ser verify results/ --repair",
    )),
    "compact": ("how-to/every-night.md", (
        "ser compact results/",
        "ser verify results/ && ser compact results/",
    )),
    "merge": ("how-to/cluster.md", (
        "ser merge results/ shards/1 shards/2 shards/3",
        "ser merge results/ shards/*",
    )),
    "path": ("how-to/read-results.md", (
        "ser path results/ recordings",
        "duckdb -c \"SELECT * FROM '$(ser path results/ segments)/*.parquet'\"",
    )),
    "forget": ("how-to/read-results.md", (
        "ser forget results/ --path billing/1001.wav",
        "ser forget results/ --before 2026-01-01 --dry-run",
    )),
    "relocate": ("how-to/read-results.md", (
        "ser relocate results/ /mnt/old /mnt/new",
        "ser relocate results/ /mnt/old /mnt/new && ser verify results/",
    )),
    "predict": ("reference/cli.md", (
        "ser predict clip.wav",
        "ser predict *.wav --bundle models/mine",
    )),
    "stream": ("how-to/live.md", (
        "ser stream call.wav --roles agent,customer",
        "sox call.ogg --type raw --rate 8000 --bits 16 - | ser stream - --channels 2",
    )),
    "serve": ("how-to/live-server.md", (
        "ser serve --roles customer,agent --out live-results/",
        "ser serve --measure",
    )),
    "profile make": ("explanation/how-it-works.md", (
        "ser profile calls/ --out centre.json",
        "ser analyze one.wav --profile centre.json --out one/",
    )),
    "profile show": ("explanation/how-it-works.md", (
        "ser profile show results/",
        "ser profile show centre.json",
    )),
    "profile refresh": ("explanation/how-it-works.md", (
        "ser profile refresh results/",
        "ser profile show results/",
    )),
    "label start": ("how-to/your-calls.md", (
        "ser label start results/ --out labels/ --segments 200",
        "ser label start results/ --out labels/ --more 100",
    )),
    "label serve": ("how-to/your-calls.md", (
        "ser label serve labels/ --labeller kim",
        "ser label serve labels/ --labeller kim --dimensions",
    )),
    "label status": ("how-to/your-calls.md", (
        "ser label status labels/",
        "ser label status labels/ --json",
    )),
    "label export": ("how-to/your-calls.md", (
        "ser label export labels/ --to label-studio --out tasks/",
        "ser label export labels/ --to csv --out table/",
    )),
    "label import": ("how-to/your-calls.md", (
        "ser label import labels/ project-1.json",
        "ser label import labels/ table/labels.csv --labeller kim",
    )),
    "adapt": ("how-to/your-calls.md", (
        "ser adapt telephone --labels labels/ --out models/ours",
        "ser analyze calls/ --bundle models/ours --out our-results/",
    )),
    "train": ("how-to/train.md", (
        "ser train ravdess=data/ravdess --recipe mel-cnn --folds --out models/actors",
        "ser train ravdess=A nemo=B ased=C --recipe places --leave-corpus-out each "
        "--out runs/mine",
    )),
    "evaluate": ("how-to/train.md", (
        "ser evaluate telephone crema-d=data/crema-d.zip",
        "ser evaluate models/mine ravdess=data/ravdess --condition telephone",
    )),
    "compare": ("how-to/train.md", (
        "ser compare models/mine telephone",
        "ser compare docs/recipes/random",
    )),
    "corpus check": ("how-to/train.md", (
        "ser corpus check data/ravdess",
        "ser corpus check csv=labels.csv",
    )),
    "models list": ("how-to/large-models.md", (
        "ser models list",
        "SER_MODELS=/srv/models ser models list",
    )),
    "models show": ("explanation/how-good.md", (
        "ser models show telephone",
        "ser models show models/ours",
    )),
    "models add": ("how-to/large-models.md", (
        "ser models add large checkpoints/wav2vec2-emotion",
        "ser models add large ORG/MODEL --map hap=happy",
    )),
    "doctor": ("tutorials/first-report.md", (
        "ser doctor",
        "ser doctor --json",
    )),
}  # fmt: skip


class Command(TyperCommand):
    """A command whose flags are shown without a type."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters."""
        return _without_types_of_flags(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose flags are shown without a type."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters."""
        return _without_types_of_flags(super().get_params(ctx))


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""
    return params


def command(name: str) -> dict[str, Any]:
    """Return the arguments of `Typer.command` for the command with this full name."""
    page, examples = PAGES[name]
    # Typer joins lines, and keeps paragraphs.
    lines = ["Examples:", *(f"$ {line}" for line in examples), f"More: docs/{page}"]
    text = "\n\n".join(line.replace("[", "\\[") for line in lines)
    return {"name": name.split()[-1], "cls": Command, "epilog": text}
