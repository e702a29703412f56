"""Options: round trips, clear errors, and a hash of everything that affects rows."""

from dataclasses import fields

import pytest

from ser_batch.config.options import Config
from ser_batch.errors import ConfigError
from tests.support.paths import ROOT


def test_a_configuration_survives_a_round_trip_through_a_dict():
    config = Config.from_dict(
        {
            "score": {"roles": ["agent", "customer"]},
            "vad": {"onset": 0.7},
            "run": {"workers": 3},
        }
    )
    assert Config.from_dict(config.to_dict()) == config


def test_the_example_file_lists_every_option_with_its_default():
    path = ROOT / "examples" / "ser.toml"
    text = path.read_text(encoding="utf-8")
    assert Config.from_toml(path) == Config()
    for group in fields(Config):
        _, _, after = text.partition(f"[{group.name}]")
        section = after.partition("\n[")[0]
        for option in fields(getattr(Config(), group.name)):
            assert f"{option.name} = " in section, f"{group.name}.{option.name}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vda": {}}, "unknown option vda"),
        ({"vad": {"onst": 1}}, "unknown option vad.onst; choose from .*onset"),
        ({"vad": {"onset": "high"}}, "vad.onset: expected float, got str"),
        ({"vad": {"onset": 1.5}}, "0 < offset <= onset < 1"),
        ({"vad": 3}, "vad: expected table, got int"),
        ({"vad": {"engine": "webrtc"}}, "silero or pyannote"),
        ({"vad": {"engine": "pyannote"}}, "path or name of a pyannote model"),
        ({"segments": {"min_s": 5.0}}, "max_s must be between twice min_s"),
        ({"score": {"roles": ["boss"]}}, "agent and customer"),
        ({"score": {"roles": ["custmer"]}}, "did you mean customer?"),
        ({"speakers": {"agent_is": "fist"}}, "not 'fist'; did you mean first?"),
        ({"score": {"roles": "agent"}}, "score.roles: expected list, got str"),
        (
            {"audio": {"mix": True}, "score": {"roles": ["customer", "customer"]}},
            "cannot be combined",
        ),
        ({"run": {"batch_size": 0}}, "1 to 4096"),
        ({"run": {"workers": 10**14}}, "1 to 256"),
        ({"run": {"batch_size": True}}, "run.batch_size: expected int"),
    ],
)
def test_invalid_options_are_refused_with_a_reason(values, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(values)


def test_a_file_of_another_format_is_refused_with_both_numbers(tmp_path):
    path = tmp_path / "ser.toml"
    path.write_text("format = 1\n[vad]\nonset = 0.6\n")
    assert Config.from_toml(path).vad.onset == 0.6
    path.write_text("format = 2\n")
    with pytest.raises(ConfigError, match="format 2; this version reads format 1"):
        Config.from_toml(path)


def test_a_broken_file_is_named_in_the_error(tmp_path):
    path = tmp_path / "ser.toml"
    path.write_text("[vad\n")
    with pytest.raises(ConfigError, match="ser.toml: not valid TOML"):
        Config.from_toml(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.from_toml(tmp_path / "none.toml")


def test_the_hash_changes_only_with_options_that_affect_rows():
    base = Config()
    assert (
        base.updated({"run": {"workers": 7, "batch_size": 1, "device": "cpu"}}).hash()
        == base.hash()
    )
    assert base.updated({"score": {"bundle": "elsewhere"}}).hash() == base.hash()
    assert base.updated({"vad": {"onset": 0.6}}).hash() != base.hash()
    assert (
        base.updated({"score": {"roles": ["agent", "customer"]}}).hash() != base.hash()
    )
