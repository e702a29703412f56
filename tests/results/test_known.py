"""The recordings in the results: columns that act like a dictionary."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.results import lookup as module
from ser_batch.results.known import Known, KnownRecording, read_known
from ser_batch.results.lookup import Lookup
from ser_batch.results.writing import open_writer
from tests.support.rows import IDENTITY, rows

texts = st.lists(st.text("abé/ ", max_size=3), max_size=30)


@pytest.mark.parametrize("distinct_hashes", [True, False])
def test_a_lookup_finds_what_a_dictionary_finds(monkeypatch, distinct_hashes):
    if not distinct_hashes:
        monkeypatch.setattr(
            module, "_hashes", lambda own: np.array(list(map(len, own)), np.int64)
        )
    monkeypatch.setattr(module, "BLOCK", 7)

    @given(texts, texts)
    def check(column, wanted):
        column = list(dict.fromkeys(column))
        naive = {text: row for row, text in enumerate(column)}
        chunks = pa.chunked_array([column[:3], column[3:]], pa.string())
        lookup = Lookup(chunks)
        assert lookup.rows(wanted).tolist() == [naive.get(text, -1) for text in wanted]
        assert [lookup.row(text) for text in column] == list(naive.values())

    check()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Write the recordings a to e."""
    directory = tmp_path_factory.mktemp("results")
    with open_writer(directory, IDENTITY) as writer:
        for name in "abcde":
            writer.add(rows(name, content=f"content of {name}"))
        writer.commit()
    return directory


@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "delete"]), st.sampled_from("abcdefg")),
        max_size=20,
    )
)
def test_known_recordings_can_be_set_and_deleted_like_those_of_a_dictionary(
    results, acts
):
    known = read_known(results, IDENTITY)
    naive: dict[str, KnownRecording] = dict(known.items())
    assert sorted(naive) == list("abcde")
    own = naive["a"]
    for number, (act, name) in enumerate(acts):
        if act == "set":
            known[name] = naive[name] = replace(own, part=f"part-{number}")
        elif name in naive:
            del known[name], naive[name]
        else:
            with pytest.raises(KeyError):
                del known[name]
    assert dict(known.items()) == naive
    assert len(known) == len(naive)
    for name in "abcdefg":
        assert (name in known) == (name in naive)
        assert known.get(name) == naive.get(name)
    with pytest.raises(KeyError):
        known["none"]


def test_an_empty_directory_has_no_known_recordings():
    known = Known()
    assert len(known) == 0
    assert list(known.items()) == []
    assert known.at("/in/a.wav") is None
    assert known.linked == {}
    assert not known.unchanged(known.rows_at(["/in/a.wav"]), [None]).any()
    assert list(known.of_content(["x"])) == []
