"""What `ser stream` and `ser serve` have in common."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ser_batch.config.options import Config

Profile = Annotated[
    Path | None,
    typer.Option(
        help="File written by ser profile for the place that the calls come from. "
        "Default: the statistics of training.",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with any of the options of ser analyze; the command line takes "
        "precedence.",
        show_default=False,
    ),
]
ScoreAgents = Annotated[
    bool, typer.Option("--score-agents", help="Score the agents' channels too.")
]


def live_config(
    config_file: Path | None, roles: str | None, score_agents: bool, mix: bool = False
) -> "Config":
    """Return the configuration of a file, with what the command line says besides.

    Raises:
        ConfigError: an option has no meaning, or the file cannot be read.
    """
    from ser_batch.config.options import Config

    score: dict[str, Any] = {}
    if roles:
        score["roles"] = [role.strip() for role in roles.split(",")]
    if score_agents:
        score["score_agents"] = True
    config = Config.from_toml(config_file) if config_file else Config()
    return config.updated({"score": score, "audio": {"mix": True} if mix else {}})
