import pytest

from recsys.errors import ConfigError
from recsys.models import ItemKNN, Popularity


@pytest.mark.parametrize(
    "make",
    [
        lambda: Popularity(threads=0),
        lambda: ItemKNN(threads=0),
        lambda: ItemKNN(neighbours=0),
        lambda: ItemKNN(neighbours=-5),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_the_constructor(make):
    with pytest.raises(ConfigError, match="Give 1 or more"):
        make()
