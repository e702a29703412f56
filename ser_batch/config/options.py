"""The options of an analysis, as frozen dataclasses read from TOML."""

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from ser_batch.config.structuring import from_plain, read_toml, to_plain
from ser_batch.errors import ConfigError
from ser_batch.shipped import voices_fingerprint
from ser_batch.text import did_you_mean

ROLES = ("agent", "customer")
MAX_VOICES = 8
PIPELINE_FILES = (".yaml", ".bin", ".npz", ".ckpt", ".safetensors")
_VOICES = re.compile(f"[1-{MAX_VOICES}](-[1-{MAX_VOICES}])?")


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """How recordings are decoded into channels."""

    mix: bool = False
    """Average all channels into one: for channels that do not separate speakers."""
    raw_sample_rate: int | None = None
    """Sample rate (Hz) of headerless files; None: by extension (mostly 8000)."""
    raw_channels: int = 1
    """Number of channels of headerless files."""

    def __post_init__(self) -> None:
        _require(
            self.raw_sample_rate is None or self.raw_sample_rate > 0,
            "audio.raw_sample_rate",
            "a rate in Hz",
        )
        _require(1 <= self.raw_channels <= 8, "audio.raw_channels", "1 to 8")


@dataclass(frozen=True, slots=True)
class VadConfig:
    """How speech is detected. Probabilities are per frame of 32 ms."""

    engine: Literal["silero", "pyannote"] = "silero"
    model: str | None = None
    """pyannote only: a local path, or the name of a model on the Hugging Face Hub."""
    onset: float = 0.5
    """Speech starts at a frame with at least this probability."""
    offset: float = 0.35
    """Speech ends at a frame below this probability."""
    min_silence_s: float = 0.1
    """Shorter silence within speech is treated as speech."""
    min_speech_s: float = 0.25
    """Shorter speech is treated as noise."""
    pad_s: float = 0.032
    """Speech regions are extended by this at both ends."""
    crosstalk: bool = True
    """Whether crosstalk from another channel is left out."""

    def __post_init__(self) -> None:
        _require(
            self.engine in ("silero", "pyannote"), "vad.engine", "silero or pyannote"
        )
        _require(
            0 < self.offset <= self.onset < 1,
            "vad.onset and offset",
            "0 < offset <= onset < 1",
        )
        for name in ("min_silence_s", "min_speech_s", "pad_s"):
            _require(0 <= getattr(self, name) <= 10, f"vad.{name}", "0 to 10 seconds")
        _require(
            self.engine != "pyannote" or bool(self.model),
            "vad.model",
            "the path or name of a pyannote model",
        )

    def model_fingerprint(self) -> str | None:
        """Return the hash of a local VAD model, or the name of one on the Hub."""
        if self.engine == "silero" or self.model is None:
            return None
        path = Path(self.model)
        path = path / "pytorch_model.bin" if path.is_dir() else path
        return (
            hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else self.model
        )


@dataclass(frozen=True, slots=True)
class SpeakersConfig:
    """How the voices within a single channel are told apart."""

    count: str | int | None = None
    """How many voices there are: `2`, or a range such as `1-4`; `1` tells none apart.

    None: two where both roles are named but the recording has one channel, else one.
    """
    agent_is: Literal["first", "last", "most"] | None = None
    """How the agent is recognised: by speaking first, last, or most."""
    engine: Literal["ser", "pyannote"] = "ser"
    """What tells voices apart: the shipped voice model, or pyannote.audio."""
    model: str | None = None
    """pyannote only: the folder of a pipeline, or its name on the Hugging Face Hub."""

    def __post_init__(self) -> None:
        _require(
            self.engine in ("ser", "pyannote"), "speakers.engine", "ser or pyannote"
        )
        _require(
            (self.engine == "pyannote") == bool(self.model),
            "speakers.model",
            "the path or name of a pyannote pipeline, with the engine pyannote",
        )
        _require(
            self.count is None or _VOICES.fullmatch(str(self.count)) is not None,
            "speakers.count",
            f"a number from 1 to {MAX_VOICES}, or a range such as 1-4",
        )
        least, most = self.range_for(())
        _require(least <= most, "speakers.count", "a range from low to high")
        _require(
            self.agent_is in (None, "first", "last", "most"),
            "speakers.agent_is",
            "first, last or most",
        )

    def range_for(self, roles: Sequence[str]) -> tuple[int, int]:
        """Return the least and the largest number of voices in a single channel."""
        if self.count is None:
            return (2, 2) if set(roles) == set(ROLES) else (1, 1)
        least, _, most = str(self.count).partition("-")
        return int(least), int(most or least)

    def fingerprint(self, roles: Sequence[str]) -> dict[str, Any]:
        """Return what tells voices apart, as far as it changes rows."""
        least, most = self.range_for(roles)
        model = None
        if most > 1:
            model = [voices_fingerprint()]
            if self.engine == "pyannote" and self.model:
                model.append(_pipeline_fingerprint(Path(self.model)))
        return {"count": f"{least}-{most}", "agent_is": self.agent_is, "model": model}


@dataclass(frozen=True, slots=True)
class SegmentConfig:
    """How speech is divided into segments."""

    max_pause_s: float = 0.3
    """Speech regions at most this far apart are scored together."""
    min_s: float = 0.8
    """Shorter isolated speech is not scored, unless there is no other speech."""
    max_s: float = 6.0
    """Longer speech is split at its weakest frames."""

    def __post_init__(self) -> None:
        _require(0 <= self.max_pause_s <= 60, "segments.max_pause_s", "0 to 60 seconds")
        _require(self.min_s >= 0.1, "segments.min_s", "0.1 seconds or more")
        _require(
            2 * self.min_s <= self.max_s <= 60,
            "segments.max_s",
            "between twice min_s and 60 seconds",
        )


@dataclass(frozen=True, slots=True)
class ScoreConfig:
    """Which segments are scored, and when the model abstains."""

    bundle: str = "telephone"
    """The name of a shipped bundle, or the path of any bundle."""
    roles: tuple[str, ...] = ()
    """The role on each channel: `agent` or `customer`."""
    score_agents: bool = False
    profile: str = "auto"
    """The normalisation statistics: `auto` estimates a profile from the first run's
    recordings, `bundle` uses the bundle's own, anything else is a profile's path."""
    abstain_below: float | None = None
    """Segments with lower certainty get no label; None: the bundle's threshold."""

    def __post_init__(self) -> None:
        for role in self.roles:
            _require(
                role in ROLES,
                "score.roles",
                f"a list of {' and '.join(ROLES)}, one for each channel"
                + did_you_mean(role, ROLES),
            )
        _require(
            self.abstain_below is None or 0 <= self.abstain_below <= 1,
            "score.abstain_below",
            "0 to 1",
        )


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How the work is done. These options are not part of the identity of results."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    batch_size: int | None = None
    """Segments per batch; None: 16 on a CPU, 64 on a GPU."""
    workers: int | None = None
    """Number of decoding processes; None: by the number of cores."""
    deadline_s: float = 1800.0
    """Recordings that take longer to decode are abandoned."""
    retry_failed: bool = False
    strict: bool = False
    """Stop at the first recording that fails; finished recordings are kept."""
    log_file: str | None = None
    """File that events are appended to, as JSON lines."""
    shard: str | None = None
    """`3/16`: analyse only the third of sixteen shares of the recordings."""
    engine: Literal["local", "ray"] = "local"
    """Where recordings are analysed: on this machine, or on a Ray cluster."""
    ray_address: str | None = None
    """`auto`, or `ray://host:10001`; None starts Ray on this machine."""
    cluster_wait_s: float = 300.0
    """A run ends if no node of the cluster has worked for so long."""
    storage_options: tuple[str, ...] = ()
    """Of object stores, as `NAME=VALUE`: `endpoint=...`. Never credentials."""

    def __post_init__(self) -> None:
        _require(
            self.shard is None or self.shard_of is not None,
            "run.shard",
            "K/N, such as 3/16, where K is 1 to N",
        )
        _require(
            self.ray_address is None or self.engine == "ray",
            "run.ray_address",
            "given only with the engine ray",
        )
        _require(
            0 < self.cluster_wait_s < 1e9, "run.cluster_wait_s", "more than 0 seconds"
        )
        _require(
            self.batch_size is None or 1 <= self.batch_size <= 4096,
            "run.batch_size",
            "1 to 4096",
        )
        _require(
            self.workers is None or 1 <= self.workers <= 256, "run.workers", "1 to 256"
        )
        _require(
            0 < self.deadline_s < 1e9,
            "run.deadline_s",
            "more than 0 seconds, and finite",
        )

    @property
    def shard_of(self) -> tuple[int, int] | None:
        """Return which share of how many is analysed; None for all."""
        found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", self.shard or "")
        if found is None:
            return None
        number, n = int(found[1]), int(found[2])
        return (number, n) if number <= n else None


@dataclass(frozen=True, slots=True)
class Config:
    """All options of `ser analyze`.

    >>> Config.from_dict({"vad": {"onset": 0.6}}).vad.onset
    0.6
    """

    audio: AudioConfig = field(default_factory=AudioConfig)
    vad: VadConfig = field(default_factory=VadConfig)
    speakers: SpeakersConfig = field(default_factory=SpeakersConfig)
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        _, most = self.speakers.range_for(self.score.roles)
        if self.audio.mix and self.score.roles and most < 2:
            raise ConfigError(
                "mix and roles cannot be combined: mix leaves one channel, and "
                "roles need one each, or voices that are told apart"
            )
        if self.speakers.engine == "pyannote" and most < 2:
            raise ConfigError(
                "a diarizer needs voices to tell apart (--speakers 2)",
                option="speakers.engine",
            )
        both = set(self.score.roles) == set(ROLES)
        if self.speakers.agent_is and not (both and most > 1):
            raise ConfigError(
                "agent_is needs both roles (agent,customer) and voices to tell apart "
                "(--speakers 2)",
                option="speakers.agent_is",
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return a configuration with `values` instead of the defaults.

        Raises:
            ConfigError: an unknown key, a value of the wrong type, or one out of range.
        """
        return from_plain(cls, values)

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a configuration from a TOML file with one table per group of options."""
        return read_toml(cls, path)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return plain values for `from_dict`, without options that are None."""
        return to_plain(self)

    def updated(self, changes: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return a copy with some options changed: `{"vad": {"onset": 0.6}}`."""
        merged = self.to_dict()
        for group, values in changes.items():
            merged[group] = merged.get(group, {}) | dict(values)
        return self.from_dict(merged)

    def hash(self) -> str:
        """Return a fingerprint of all options that change rows."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def identity(self) -> dict[str, dict[str, Any]]:
        """Return all options that change rows, with models by their content."""
        values = dataclasses.asdict(self)
        del values["run"]
        # Models are identified by content, not by path: a bundle has its model_id ...
        del values["score"]["bundle"]
        # ... and a profile has a fingerprint of its own.
        del values["score"]["profile"]
        values["vad"]["model"] = self.vad.model_fingerprint()
        values["speakers"] = self.speakers.fingerprint(self.score.roles)
        return values


def _pipeline_fingerprint(folder: Path) -> str:
    """Return the hash of a pipeline's settings and weights; the name of one elsewhere.

    Other files in the folder make no difference.
    """
    if not folder.is_dir():
        return str(folder)
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in PIPELINE_FILES and file.is_file():
            digest.update(f"{file.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _require(holds: bool, name: str, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"{name} must be {wanted}", option=name)


def parse_assignments(texts: list[str]) -> dict[str, dict[str, Any]]:
    """Parse `GROUP.OPTION=VALUE` texts into nested values for `Config.updated`.

    >>> parse_assignments(["vad.onset=0.6", "score.bundle=mine"])
    {'vad': {'onset': 0.6}, 'score': {'bundle': 'mine'}}

    Args:
        texts: the assignments; a VALUE that is not TOML is plain text.

    Raises:
        ConfigError: a text is not an assignment of this form.
    """
    changes: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        group, dot, option = name.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(
                f"--set {text}: write GROUP.OPTION=VALUE, for example vad.onset=0.6",
                option="--set",
            )
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value
        changes.setdefault(group, {})[option] = parsed
    return changes
