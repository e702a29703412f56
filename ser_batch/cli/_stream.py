"""`ser stream`: recordings as if they were calls that are going on."""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from ser_batch.cli._live import ConfigFile, Profile, ScoreAgents, live_config
from ser_batch.cli._options import Bundle, Device
from ser_batch.errors import AudioError, ExitCode, FailureKind, UsageError

if TYPE_CHECKING:
    from ser_batch.config.options import Config
    from ser_batch.emotion.scorer import Scorer
    from ser_batch.live.events import Event
    from ser_batch.live.replay import Packet
    from ser_batch.speech.vad import Vad

_RAW = "Raw audio from standard input"


def command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Recordings, one after the other; - reads raw audio from standard "
            "input.",
            show_default=False,
        ),
    ],
    speed: Annotated[
        float,
        typer.Option(min=0, help="1: in real time; 10: ten times as fast; 0: at once."),
    ] = 1.0,
    roles: Annotated[
        str | None,
        typer.Option(
            help="Role on each channel, as in agent,customer: only the customer is "
            "scored."
        ),
    ] = None,
    score_agents: ScoreAgents = False,
    mix: Annotated[
        bool, typer.Option("--mix", help="Mix all channels into one.")
    ] = False,
    bundle: Bundle = "telephone",
    profile: Profile = None,
    config: ConfigFile = None,
    device: Device = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every event as a line of JSON.")
    ] = False,
    rate: Annotated[
        int, typer.Option(min=2000, help="Sample rate, in Hz.", rich_help_panel=_RAW)
    ] = 8000,
    channels: Annotated[
        int,
        typer.Option(min=1, max=8, help="Interleaved channels.", rich_help_panel=_RAW),
    ] = 1,
    encoding: Annotated[
        str, typer.Option(help="mulaw, alaw or s16.", rich_help_panel=_RAW)
    ] = "s16",
) -> None:
    """Replay recordings in real time, and show what a live call would show.

    Segments are printed as soon as they are settled, with the scores of ser analyze.
    Below them, the last minute of each channel: the bars are distress, and dots are
    silence.
    """
    from ser_batch.audio.opening import open_audio
    from ser_batch.emotion.loading import load_scorer
    from ser_batch.emotion.profile import read_profile
    from ser_batch.live.encodings import Encoding
    from ser_batch.live.replay import packets_of, raw_packets
    from ser_batch.speech.loading import load_vad
    from ser_batch.text import printable

    if encoding not in list(Encoding):
        raise UsageError(
            f"--encoding {encoding}: mulaw, alaw and s16 are supported",
            option="--encoding",
        )
    settings = live_config(config, roles, score_agents, mix)
    scorer = load_scorer(bundle, device, read_profile(profile) if profile else None)
    player = _Player(settings, scorer, load_vad(settings.vad), as_json)
    failed = False
    for file in files:
        if len(files) > 1 and not as_json:
            typer.secho(printable(file), bold=True)
        try:
            if file == "-":
                stdin = sys.stdin.buffer
                if stdin.isatty():
                    raise UsageError("-: standard input is a terminal; pipe audio in")
                packets = raw_packets(stdin, rate, channels, Encoding(encoding))
                player.play(packets, rate, channels, [])
                continue
            with open_audio(file) as audio:
                packets = packets_of(audio, speed)
                player.play(packets, audio.sample_rate, audio.channels, audio.notes)
        except (AudioError, UsageError) as error:
            if len(files) == 1 and isinstance(error, UsageError):
                raise
            typer.secho(f"{printable(file)}: {error}", err=True, fg="red")
            failed = True
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


class _Player:
    """Plays calls through a model, and prints what it makes of them."""

    def __init__(
        self, config: "Config", scorer: "Scorer", vad: "Vad", as_json: bool
    ) -> None:
        self._config, self._scorer, self._vad = config, scorer, vad
        self._as_json = as_json

    def play(
        self,
        packets: "Iterable[Packet]",
        sample_rate: int,
        channels: int,
        notes: Sequence[str],
    ) -> None:
        """Print what is known of a call while it goes on, and at its end.

        Ctrl-C ends the call. `notes` are the decoder's, complete after the last packet.

        Raises:
            AudioError: there is no audio.
            UsageError: the call cannot be followed.
        """
        from ser_batch.audio.opening import NO_SAMPLES
        from ser_batch.cli.interruption import until_interrupted
        from ser_batch.cli.live_display import LiveDisplay
        from ser_batch.live.call_stream import CallStream
        from ser_batch.live.events import as_json
        from ser_batch.speech.speakers import channel_roles

        stream = CallStream(
            self._scorer, self._config,
            sample_rate=sample_rate, channels=channels, vad=self._vad,
        )  # fmt: skip
        shown = 1 if self._config.audio.mix else channels
        roles, _, _ = channel_roles(self._config, shown)
        display = nullcontext() if self._as_json else LiveDisplay(roles)
        with display as shown_on, until_interrupted(packets) as heard:

            def tell(events: "Iterable[Event]") -> None:
                for event in events:
                    if shown_on is not None:
                        shown_on.show(event)
                        continue
                    try:
                        typer.echo(json.dumps(as_json(event)))
                    except BrokenPipeError:
                        # Without its number, so that it ends as everywhere.
                        raise BrokenPipeError from None

            for packet in heard:
                for channel, samples in enumerate(packet):
                    tell(stream.feed(channel, samples))
                if shown_on is not None:
                    shown_on.at(stream.state.audio.duration_s)
            for note in notes:
                stream.state.note(note)
            events = stream.finish()
            if not stream.state.audio.duration_s:
                raise AudioError(NO_SAMPLES, FailureKind.EMPTY)
            tell(events)
        if heard.interrupted:
            raise typer.Exit(ExitCode.INTERRUPTED)
