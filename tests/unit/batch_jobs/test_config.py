import pytest

from batch_jobs.config import JobConfig, call, load, parse_setting
from recsys.data import clean, interactions_from_tuples
from recsys.errors import ConfigError
from recsys.models import ImplicitALS


def write(tmp_path, text):
    path = tmp_path / "job.toml"
    path.write_text(text)
    return path


def test_without_anything_the_defaults_hold():
    assert load(None, {}) == JobConfig()
    assert load(None, {"namespace": None, "ingest": {"files": (), "items": None, "columns": {}}}) == JobConfig()


def test_flags_go_over_the_file_and_leave_the_rest(tmp_path):
    path = write(
        tmp_path, 'namespace = "a"\n[model]\nkind = "als"\nfactors = 8\n[ingest]\nfiles = ["x.csv"]\non_error = "skip"'
    )
    config = load(path, {"namespace": "b", "model": {"kind": None, "factors": 16}, "ingest": {"files": ()}})
    assert config.namespace == "b"
    assert config.model == {"kind": "als", "factors": 16}
    assert config.ingest.files == ("x.csv",)
    assert config.ingest.on_error == "skip"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("namespace = 3", "namespace: expected `str`, got `int`"),
        ("nonsense = 1", "unknown field `nonsense`"),
        ("[gate]\nmax_drops = 1", "gate: object contains unknown field `max_drops`"),
        ("[ingest]\non_error = 'maybe'", "ingest.on_error"),
        ("[split]\ntest_fraction = 'half'", "split.test_fraction: expected `float`"),
        ("namespace = 'a/b'", "namespace 'a/b' must be"),
        ("[broken", "is not TOML"),
        ("\xff\xfe", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path, text, said):
    path = tmp_path / "job.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_settings_of_a_function_are_checked_against_it():
    model = call(ImplicitALS, {"factors": 4, "alpha": 2}, "model")
    assert (model.factors, model.alpha, type(model.alpha)) == (4, 2.0, float)
    raw = interactions_from_tuples([("u", "i", 1.0)])
    assert call(clean, {"min_weight": None}, "clean", raw).interactions.shape == (1, 1)
    with pytest.raises(ConfigError, match=r"\[model\] has no setting 'factor'; it has factors, "):
        call(ImplicitALS, {"factor": 4}, "model")
    with pytest.raises(ConfigError, match=r"\[model\] factors = 'many'"):
        call(ImplicitALS, {"factors": "many"}, "model")
    with pytest.raises(ConfigError, match="has no setting 'interactions'"):
        call(clean, {"interactions": 1}, "clean", raw)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("factors=64", 64),
        ("alpha=2.5", 2.5),
        ("weights=binary", "binary"),
        ('w="a=b"', "a=b"),
        ("on=true", True),
        ("a=", ""),
    ],
)
def test_set_flags_take_toml_values_or_bare_text(text, parsed):
    assert parse_setting("--set", text)[1] == parsed


@pytest.mark.parametrize("text", ["factors", "=3", "a b=3"])
def test_set_flags_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match="--clean takes name=value"):
        parse_setting("--clean", text)


def test_an_empty_column_is_left_unread():
    columns = load(None, {"ingest": {"columns": {"user": 0, "timestamp": ""}}}).ingest.spec().columns
    assert columns == {"user": 0, "timestamp": None}
