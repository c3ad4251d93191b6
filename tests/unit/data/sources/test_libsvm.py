"""LIBSVM and libffm: at once or line by line, the samples are those of the text."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import read_libffm, read_libsvm
from recsys.data.sources.libsvm import _at_once, _Form, _one_by_one
from recsys.data.sources.lines import Block
from recsys.data.sources.rejected import Rejected
from recsys.errors import ConfigError, DataError

NUMBERS = st.one_of(st.integers(-9, 9), st.floats(-1e30, 1e30), st.sampled_from(["+1", "1e3", ".5", "-2."]))


def put(folder, text, name="samples.txt"):
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_samples_of_one_field(tmp_path, name):
    path = put(tmp_path, "+1 3:0.5 1:2\r\n\n-1\n0.25\t2:1e-1 # said somebody\n", name)

    samples, targets = read_libsvm(path)

    assert targets.tolist() == [1, -1, 0.25]
    assert (targets.dtype, samples.fields) == (np.float32, ("feature",))
    assert samples.to_csr().toarray().tolist() == [[2, 0, 0.5], [0, 0, 0], [0, np.float32(0.1), 0]]
    assert read_libsvm(path, n_features=7)[0].n_features == 7
    assert read_libsvm(path, zero_based=True)[0].n_features == 4


def test_samples_of_many_fields(tmp_path):
    path = put(tmp_path, "1 2:0:1 0:4:0.5\n0 1:1:-3 1:0:2 0:0:1\n")

    samples, targets = read_libffm(path)

    assert targets.tolist() == [1, 0]
    assert (samples.fields, samples.offsets.tolist()) == (("0", "1", "2"), [0, 5, 7, 8])
    assert samples.to_csr().toarray().tolist() == [[0, 0, 0, 0, 0.5, 0, 0, 1], [1, 0, 0, 0, 0, 2, -3, 0]]
    again, _ = read_libffm(put(tmp_path, "1 1:1:1\n"), sizes=np.diff(samples.offsets))
    assert (again.offsets.tolist(), again.features.tolist()) == ([0, 5, 7, 8], [6])


LINES = st.lists(
    st.tuples(NUMBERS, st.dictionaries(st.tuples(st.integers(0, 3), st.integers(1, 40)), NUMBERS, max_size=5)),
    min_size=1,
    max_size=8,
)


@given(LINES, st.sampled_from([2, 3]), st.sampled_from(["\n", " \n", "\r\n", "\n\n"]))
def test_a_block_at_once_is_the_lines_one_by_one(lines, parts, end):
    text = ""
    for label, entries in lines:
        entries = {key if parts == 3 else (0, key[1]): value for key, value in entries.items()}
        words = [f"{field}:{feature}:{value}"[0 if parts == 3 else 2 :] for (field, feature), value in entries.items()]
        text += " ".join([str(label), *words]) + end
    form = _Form(parts, 1, None)

    at_once = _at_once(text.encode(), form)
    walked = _one_by_one(Block(1, text.encode()), form, "a", Rejected())

    assert at_once is not None
    for name in ("labels", "lengths", "fields", "features", "values"):
        one, other = getattr(at_once, name), getattr(walked, name)
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


BAD = {
    "x 1:1": "column 'label': 'x' is not a number",
    "1:1 2:1": "column 'label': '1:1' is not a number",
    "1 1:x": "column 'entry': 'x' is not a number",
    "1 1:": "column 'entry': is empty",
    "1 :1": "':1' is not feature:value",
    "1 1": "'1' is not feature:value",
    "1 1:2:3": "'1:2:3' is not feature:value",
    "1 1.0:2": "'1.0:2' is not feature:value",
    "1 -3:2": "'-3:2' is not feature:value",
    "1 0x1:2": "'0x1:2' is not feature:value",
    "1 0:2": "there is a feature 0, but the first is called 1. Pass zero_based=True",
    "1 3:1 3:2": "the feature of '3:2' stands twice in the line",
    "1 9:1": "'9:1' lies beyond the features there are",
    "1 1:nan": "'nan' is not a finite number",
    "1 1:1e39": "'1e39' is too large for float32",
    "inf 1:1": "'inf' is not a finite number",
    "1 99999999999999999999:1": "too large",
    f"1 {'9' * 5000}:1": "too large",
    "1 +3:1": "'+3:1' is not feature:value",
    "1 3:++1": "'++1' is not a number",
    "+-1 3:1": "'+-1' is not a number",
    "1 2147483648:1": "too large",
    "1 3:\0": "is not a number",
    "1 " + "3:1 " * 300_000: "the line has more than 1,048,576 bytes",
    "1 qid:3": "'qid:3' is not feature:value",
}


@pytest.mark.parametrize("bad", BAD, ids=lambda line: line[:20])
def test_a_bad_line_is_named_or_left_out(tmp_path, bad):
    path = put(tmp_path, "1 1:1\n" * 700 + bad + "\n" + "0 2:1\n" * 700)

    with pytest.raises(DataError) as refused:
        read_libsvm(path, n_features=8)
    assert "samples.txt:701: " in str(refused.value)
    assert BAD[bad] in str(refused.value)
    assert len(str(refused.value)) < 1000
    samples, targets = read_libsvm(path, n_features=8, on_error="skip")
    assert targets.tolist() == [1] * 700 + [0] * 700
    assert np.array_equal(samples.features, targets == 0)


@pytest.mark.parametrize("line", ["1 +3:1", "1 -0:1", "1 3:++1", "+-1 3:1", "1 3:+", "+ 3:1"])
def test_a_line_is_refused_whether_it_is_alone_or_not(tmp_path, line):
    for text in (f"{line}\n", f"{line}\nx\n"):
        with pytest.raises(DataError, match=r"samples\.txt:1: "):
            read_libsvm(put(tmp_path, text), zero_based=True)


def test_features_that_32_bits_cannot_count_are_refused_with_the_file(tmp_path):
    with pytest.raises(DataError, match=r"samples\.txt: the fields have 4,294,967,294 features"):
        read_libffm(put(tmp_path, "1 0:2147483646:1 1:2147483646:1\n"))


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("\n\n", "has no samples"), ("x\n", "no line can be")])
def test_a_file_without_samples_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_libsvm(put(tmp_path, text), on_error="skip")


def test_settings_that_cannot_be_used_are_refused(tmp_path):
    path = put(tmp_path, "1 0:1:1\n")
    with pytest.raises(ConfigError):
        read_libsvm(path, n_features=0)
    with pytest.raises(ConfigError):
        read_libffm(path, on_error="perhaps")
    with pytest.raises(DataError, match="lies beyond the features"):
        read_libffm(path, sizes=[1])
