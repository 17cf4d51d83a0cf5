"""Header blocks: what is written is read again, and whatever comes is read without an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.connection import headers
from smith_sdk.errors import OptionsError

NAMES = st.text(st.sampled_from("abzAZ09!#$%&'*+-.^_`|~"), min_size=1, max_size=12)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")).map(lambda text: text.strip(" \t"))


@given(msg_id=VALUES.filter(str.strip), more=st.dictionaries(NAMES, VALUES))
def test_what_is_written_is_read_again(msg_id: str, more: dict[str, str]) -> None:
    assert headers.read(headers.write(msg_id, more)) == {**more, headers.MSG_ID: msg_id}


@given(st.binary())
def test_whatever_comes_is_read(block: bytes) -> None:
    headers.read(block)


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (b"NATS/1.0\r\n\r\n", {}),
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503"}),
        (b"NATS/1.0 404 No Messages\r\n\r\n", {"Status": "404", "Description": "No Messages"}),
        (
            b"NATS/1.0 409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 1\r\n\r\n",
            {"Status": "409", "Description": "Message Size Exceeds MaxBytes", "Nats-Pending-Messages": "1"},
        ),
        (b"NATS/1.0\r\na:b\r\nA:\t c \r\nempty:\r\n\r\n", {"a": "b", "A": "c", "empty": ""}),
        (b"NATS/1.0\r\nno colon\r\n: no name\r\na b: no token\r\nlast: \xff\r\n\r\n", {"last": "\N{REPLACEMENT CHARACTER}"}),
    ],
)
def test_blocks_of_the_server_and_of_others(block: bytes, found: dict[str, str]) -> None:
    assert headers.read(block) == found


@pytest.mark.parametrize("name", ["", " ", "a b", "a:", "a\r\nNats-Rollup", "ä", "a\n"])
def test_a_name_that_is_none_is_refused_by_name(name: str) -> None:
    with pytest.raises(OptionsError, match="a name is") as caught:
        headers.write("m", {name: "v"})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("msg_id", ["", " ", "\n", "\u2003"])
def test_an_id_that_is_none_is_refused(msg_id: str) -> None:
    with pytest.raises(OptionsError, match="msg_id="):
        headers.write(msg_id)


@pytest.mark.parametrize("value", ["a\r\nNats-Rollup: all\r\n\r\nb", "a\rb", "a\nb", "a\r\n\r\n"])
def test_a_value_stays_on_its_line(value: str) -> None:
    mended = value.replace("\r", " ").replace("\n", " ").strip()
    assert headers.read(headers.write(value, {"v": value, headers.MSG_ID: "another"})) == {"v": mended, headers.MSG_ID: mended}


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(OptionsError, match="UTF-8"):
        headers.write("m", {"v": "\udcff"})
