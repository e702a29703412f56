"""`ser serve`: calls that are going on, over the protocols of telephone systems."""

import asyncio
import os
import re
from contextlib import ExitStack
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ser_batch.cli._live import ConfigFile, Profile, ScoreAgents, live_config
from ser_batch.cli._options import Bundle, Device, local_folder
from ser_batch.errors import UsageError

_WHO = "Access"
TOKEN, TWILIO_TOKEN = "SER_TOKEN", "TWILIO_AUTH_TOKEN"
WEBHOOK_SECRET = "SER_WEBHOOK_SECRET"


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
        ),
    ] = None,
    score_agents: ScoreAgents = False,
    bundle: Bundle = "telephone",
    profile: Profile = None,
    config: ConfigFile = None,
    device: Device = "auto",
    most_calls: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Calls at a time; more are refused. Default: what --measure says.",
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Print how many calls this machine bears, and exit."
        ),
    ] = False,
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address that the events of all calls are sent to, signed with "
            "SER_WEBHOOK_SECRET.",
        ),
    ] = None,
    drain_s: Annotated[
        float,
        typer.Option(
            min=0,
            help="After SIGTERM, seconds until calls that still go on are ended.",
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
            help="Allow any host and webhook without TLS, and do without a token: "
            "whoever reaches the port can listen in.",
            rich_help_panel=_WHO,
        ),
    ] = False,
    public_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Host name that a proxy on this machine forwards; repeatable.",
            rich_help_panel=_WHO,
        ),
    ] = None,
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
            "Default: this machine.",
            rich_help_panel=_WHO,
        ),
    ] = None,
) -> None:
    """Follow calls while they go on, from Twilio, Asterisk or any WebSocket.

    A page at the server's address shows the calls that go on. The token is read from
    the environment, SER_TOKEN; with TWILIO_AUTH_TOKEN, streams of Twilio must be
    signed. SIGTERM lets calls end, and exits with 0.
    """
    for name in ("websockets", "prometheus_client", "httpx"):
        if find_spec(name) is None:
            raise UsageError(f"ser serve needs {name}: pip install 'ser-batch[live]'")
    from ser_batch.addresses import Address
    from ser_batch.emotion.loading import load_scorer
    from ser_batch.emotion.profile import read_profile
    from ser_batch.live.call_stream import check_is_live
    from ser_batch.live.server.app import Secrets
    from ser_batch.live.server.capacity import calls_borne
    from ser_batch.live.server.hub import Hub
    from ser_batch.live.server.ledger import open_ledger
    from ser_batch.live.server.protocols import audiosocket
    from ser_batch.live.server.running import (
        THIS_MACHINE,
        AudioSocketAddress,
        serve_calls,
    )
    from ser_batch.live.server.webhook import Receiver
    from ser_batch.speech.loading import load_vad
    from ser_batch.text import printable

    for name in public_host or ():
        if not re.fullmatch(r"[A-Za-z0-9.-]+", name):
            raise UsageError(
                f"--public-host {name}: not the name of a host, such as "
                "calls.example.com (without a port)",
                option="--public-host",
            )
    token, account = _secret(TOKEN), _secret(TWILIO_TOKEN)
    address = Address(host, port, tls_certificate, tls_key, insecure)
    if not (address.is_here or token or insecure):
        raise UsageError(
            f"--host {host}: everybody could listen in; set {TOKEN} in the environment",
            option="--host",
        )
    if public_host and not (token or insecure):
        raise UsageError(
            f"--public-host {public_host[0]}: whoever reaches the proxy could listen "
            f"in; set {TOKEN} in the environment",
            option="--public-host",
        )
    asterisk = None
    if audiosocket_port is not None:
        allowed = tuple(allow or THIS_MACHINE)
        asterisk = AudioSocketAddress(host, audiosocket_port, allowed)
    elif allow:
        raise UsageError(
            "--allow is for AudioSocket: give --audiosocket-port, too", option="--allow"
        )
    receiver = None
    if webhook is not None:
        secret = _secret(WEBHOOK_SECRET) or ""
        receiver = Receiver.of(webhook, secret, insecure)
    settings = live_config(config, roles, score_agents)
    own = read_profile(profile) if profile else None
    scorer, vad = load_scorer(bundle, device, own), load_vad(settings.vad)
    if measure or most_calls is None:
        borne = calls_borne(scorer, vad, settings)
        most_calls = most_calls or borne
    if measure:
        typer.echo(f"{borne} calls in stereo at a time")
        return
    if asterisk is not None:
        check_is_live(scorer, settings, audiosocket.SAMPLE_RATE, channels=1)
    secrets = Secrets(token, account)
    with ExitStack() as stack:
        ledger = None
        if out is not None:
            ledger = stack.enter_context(open_ledger(out, scorer, settings, own))
            for cut in ledger.cut:
                typer.secho(
                    f"not kept by the last server: {cut.protocol} call "
                    f"{printable(cut.call)}, begun at {_time_of_day(cut.begun_at)}",
                    err=True,
                    fg="yellow",
                )
        hub = Hub(scorer, vad, settings, most_calls, ledger)

        def say(url: str) -> None:
            typer.echo(f"Serving {url}, up to {most_calls} calls at a time")

        asyncio.run(
            serve_calls(
                hub,
                address,
                secrets,
                drain_s,
                say,
                asterisk,
                receiver,
                public_host or (),
            )
        )


def _secret(name: str) -> str | None:
    """Return a secret from the environment.

    Raises:
        UsageError: it is empty, and would protect nothing.
    """
    value = os.environ.get(name)
    if value == "":
        raise UsageError(f"{name} is empty: set it in the environment, or unset it")
    return value


def _time_of_day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
