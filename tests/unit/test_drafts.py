"""Drafts of a local artefact store: those of killed processes go, those at work stay."""

from recsys.artifacts.store import _draft_of


def test_only_abandoned_drafts_are_removed(tmp_path):
    abandoned = tmp_path / ".v0.killed"
    abandoned.mkdir()
    (abandoned / "half.npy").write_bytes(b"half")
    with _draft_of(tmp_path / "v1") as one:
        (one / "array.npy").write_bytes(b"whole")
        with _draft_of(tmp_path / "v1") as other:
            assert sorted(tmp_path.iterdir()) == sorted([one, other])
            assert (one / "array.npy").read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == []
