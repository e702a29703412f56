"""`ser serve`: calls that are going on, over the protocols of telephone systems."""

import asyncio
import os
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from ser_batch.cli._options import local_folder
from ser_batch.errors import UsageError

_WHO, _HOW = "Access", "Calls"
TOKEN, TWILIO_TOKEN = "SER_TOKEN", "TWILIO_AUTH_TOKEN"


def command(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A results directory of the server's own, for the calls that have "
            "ended. Default: they are not kept.",
            show_default=False,
            parser=local_folder,
        ),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(
            help="Role on each channel, as in customer,agent: only the customer is "
            "scored. Twilio's inbound track is the first.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    score_agents: Annotated[
        bool,
        typer.Option(
            "--score-agents", help="Score the agents too.", rich_help_panel=_HOW
        ),
    ] = False,
    bundle: Annotated[
        str, typer.Option(help="Name or path of the bundle.", rich_help_panel=_HOW)
    ] = "telephone",
    profile: Annotated[
        Path | None,
        typer.Option(
            help="File written by ser profile for the place that the calls come from. "
            "Default: the statistics of training.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with any of the options of ser analyze.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="Device: auto, cpu, cuda or cuda:N.", rich_help_panel=_HOW),
    ] = "auto",
    most_calls: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Calls at a time; more are refused. Default: what --measure says.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Print how many calls this machine bears, and exit."
        ),
    ] = False,
    drain_s: Annotated[
        float,
        typer.Option(
            min=0,
            help="After SIGTERM, seconds until calls that still go on are ended.",
            rich_help_panel=_HOW,
        ),
    ] = 30.0,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; any but this machine's needs TLS and a token.",
            rich_help_panel=_WHO,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port; 0: any that is free.", rich_help_panel=_WHO
        ),
    ] = 8765,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificate (PEM).", rich_help_panel=_WHO),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Private key (PEM).", rich_help_panel=_WHO),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Do without TLS and token all the same: whoever reaches the port can "
            "listen in.",
            rich_help_panel=_WHO,
        ),
    ] = False,
    audiosocket_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Port for Asterisk's AudioSocket.",
            rich_help_panel=_WHO,
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address or network that AudioSocket may come from; repeatable. "
            "Default: 127.0.0.1.",
            rich_help_panel=_WHO,
        ),
    ] = None,
) -> None:
    """Follow calls while they go on, from Twilio, Asterisk or any WebSocket.

    The token is read from the environment, SER_TOKEN; with TWILIO_AUTH_TOKEN, streams
    of Twilio must be signed. SIGTERM lets calls end, and exits with 0.
    """
    for name in ("websockets", "prometheus_client"):
        if find_spec(name) is None:
            raise UsageError(f"ser serve needs {name}: pip install 'ser-batch[live]'")
    from ser_batch.addresses import Address
    from ser_batch.config.options import Config
    from ser_batch.emotion.loading import load_scorer
    from ser_batch.emotion.profile import read_profile
    from ser_batch.live.server.app import Secrets
    from ser_batch.live.server.capacity import calls_borne
    from ser_batch.live.server.hub import Hub
    from ser_batch.live.server.ledger import open_ledger
    from ser_batch.live.server.running import AudioSocketAddress, serve_calls
    from ser_batch.results.manifest import Identity
    from ser_batch.speech.loading import load_vad

    token = os.environ.get(TOKEN)
    address = Address(host, port, tls_certificate, tls_key, insecure)
    if not (address.is_here or token or insecure):
        raise UsageError(
            f"--host {host}: everybody could listen in; set {TOKEN} in the environment",
            option="--host",
        )
    asterisk = None
    if audiosocket_port is not None:
        allowed = tuple(allow or ("127.0.0.1",))
        asterisk = AudioSocketAddress(host, audiosocket_port, allowed)
    settings = Config.from_toml(config) if config else Config()
    given: dict[str, dict[str, Any]] = {}
    if roles:
        named = [role.strip() for role in roles.split(",")]
        given.setdefault("score", {})["roles"] = named
    if score_agents:
        given.setdefault("score", {})["score_agents"] = True
    settings = settings.updated(given)
    own = read_profile(profile) if profile else None
    scorer, vad = load_scorer(bundle, device, own), load_vad(settings.vad)
    if measure or most_calls is None:
        borne = calls_borne(scorer, vad, settings)
        most_calls = most_calls or borne
    if measure:
        typer.echo(f"{borne} calls in stereo at a time")
        return
    with ExitStack() as stack:
        ledger = None
        if out is not None:
            identity = Identity(
                scorer.model_id, settings.hash(), scorer.labels,
                options=settings.identity(),
            )  # fmt: skip
            ledger = stack.enter_context(open_ledger(out, identity, own))
            for cut in ledger.cut:
                typer.secho(
                    f"cut: {cut.protocol} call {cut.call}, when the last server was "
                    "killed",
                    err=True,
                    fg="yellow",
                )
        hub = Hub(scorer, vad, settings, most_calls, ledger.end if ledger else _forget)
        secrets = Secrets(token, os.environ.get(TWILIO_TOKEN))
        asyncio.run(
            serve_calls(
                hub, address, secrets, ledger, drain_s, _say(most_calls), asterisk
            )
        )


def _forget(_: Any) -> None: ...


def _say(most_calls: int) -> Any:
    def say(url: str) -> None:
        typer.echo(f"Serving {url}, up to {most_calls} calls at a time (Ctrl-C to end)")

    return say
