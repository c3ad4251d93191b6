"""States and lists as bytes: whatever is damaged, cut or of another kind is refused."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import ranked, state

from recsys.errors import ArtifactError
from recsys.serving import StoredList, UserState


@given(data=st.data(), kind=st.sampled_from([ranked(1, 2, 3), state(1.0, 2.0, items=[3], weights=[1])]))
def test_bytes_that_were_changed_or_cut_are_refused(data, kind):
    whole = bytearray(kind.to_bytes())
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ArtifactError, match=r"truncated|damaged"):
        type(kind).from_bytes(bytes(whole[:cut]))
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    whole[at] ^= 1 << bit
    with pytest.raises(ArtifactError, match=r"damaged|another release"):
        type(kind).from_bytes(bytes(whole))


def test_a_list_is_no_state_and_a_state_no_list():
    with pytest.raises(ArtifactError, match="a stored list is damaged"):
        StoredList.from_bytes(state(1.0).to_bytes())
    with pytest.raises(ArtifactError, match="a stored user state is damaged"):
        UserState.from_bytes(ranked(1, 2).to_bytes())


def test_any_changed_byte_of_a_state_is_noticed():
    packed = state(1.0, 2.0, items=[3, 1], weights=[1, 2], bias=0.5).to_bytes()
    assert UserState.from_bytes(packed).bias == 0.5
    for place in range(len(packed)):
        with pytest.raises(ArtifactError):
            UserState.from_bytes(packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :])


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b"XXXX" + b[4:], lambda b: b""])
def test_a_damaged_state_is_refused(damage):
    with pytest.raises(ArtifactError):
        UserState.from_bytes(damage(state(1.0, items=[1], weights=[1]).to_bytes()))


@pytest.mark.parametrize(
    ("kind", "magic", "body"),
    [
        (UserState, b"RUS3", struct.pack("<IIf3i", 1, 1, 0.5, 0, 0, 0) + b"\0"),
        (UserState, b"RUS3", struct.pack("<IIf2i", 1, 1, 0.5, 0, 0)),
        (StoredList, b"RUL1", struct.pack("<I3i", 2, 0, 0, 0)),
    ],
)
def test_a_record_that_claims_another_length_than_it_has_is_refused(kind, magic, body):
    """Its checksum is right: somebody wrote it so."""
    with pytest.raises(ArtifactError, match=r"a stored (user state|list) is damaged"):
        kind.from_bytes(magic + struct.pack("<I", zlib.crc32(body)) + body)


def test_a_state_of_another_release_asks_to_be_published_again():
    packed = state(1.0).to_bytes()
    with pytest.raises(ArtifactError, match="recsys publish"):
        UserState.from_bytes(packed[:3] + b"2" + packed[4:])
