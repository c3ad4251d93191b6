"""What a search may change: settings by name, the spans they are drawn from, and back to settings of a job."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from batch_jobs.config import JobConfig, Span
from batch_jobs.train import MODELS, check_settings, make_model
from recsys.data import clean
from recsys.errors import ConfigError
from recsys.models.fm.solving import GRADIENT

Params = dict[str, Any]
"""By names such as ``model.regularization``."""

USUAL: dict[str, dict[str, float | Span]] = {
    "als": {"regularization": 30, "unobserved_weight": 10, "frequency_exponent": Span(low=0.5, high=1.0)},
    "bpr": {"learning_rate": 10, "regularization": 10, "popularity_exponent": Span(low=0.0, high=1.0)},
    "biased_mf": {"learning_rate": 10, "regularization": 10},
    "fm gradient": {"learning_rate": 10, "regularization": 10, "weight_regularization": 10},
    "fm als": {"regularization": 10, "weight_regularization": 10},
    "fm icd": {"regularization": 10, "unobserved_weight": 10, "weight_regularization": 10},
    "fm gibbs": {"factors": Span(choices=(4, 8, 16, 32))},
}
"""By kind of model: a span, or how many times smaller and larger than the setting given it may become.

The number of factors is not among them where more is better and slower: it is a matter of cost. Neither is the number
of epochs, which every trial finds on its way.
"""

CLEAN = ("duplicates", "weights")
"""The others change who is judged and by what, so that the trials of a search could not be compared."""

FIXED = ("iterations", "tolerance", "patience", "threads", "seed")
"""Of a model: how long and on what it trains, not what it learns."""

_GRID_POINTS = 4  # of a span that is not one of choices
_LARGEST_GRID = 10_000


class Space:
    """The settings that are searched.

    Parameters
    ----------
    config : JobConfig
        A setting of its own that lies outside of its span widens the span: it is the first trial.

    Raises
    ------
    ConfigError
        If there is nothing to search, or an end of a span is no setting of the model.
    """

    def __init__(self, config: JobConfig) -> None:
        self.config = config
        told = config.tune.space
        asked = {f"model.{name}": span for name, span in told.model.items()}
        asked |= {f"clean.{name}": span for name, span in told.clean.items()}
        given = _given(config)
        for name in asked:
            if name not in given:
                known = ", ".join(sorted(given))
                raise ConfigError(f"[tune.space.{name.replace('.', '] ')} cannot be searched; what can is {known}")
        self.given = {name: given[name] for name in asked or _usual(config)}
        self.spans = {name: _widened(span, given[name]) for name, span in (asked or _usual(config)).items()}
        for name, span in self.spans.items():
            self._check(name, span)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """As Optuna draws from them."""
        return {name: _distribution(span) for name, span in self.spans.items()}

    def settings(self, params: Mapping[str, Any]) -> JobConfig:
        """Return the settings of the job with those of a trial in their place."""
        tables: dict[str, dict[str, Any]] = {"model": dict(self.config.model), "clean": dict(self.config.clean)}
        for name, value in params.items():
            table, _, key = name.partition(".")
            tables[table][key] = value
        return msgspec.structs.replace(self.config, model=tables["model"], clean=tables["clean"])

    def grid(self) -> list[Params]:
        """Every combination of choices, and of a few points of each other span."""
        points = {name: _points(span) for name, span in self.spans.items()}
        if (n := math.prod(map(len, points.values()))) > _LARGEST_GRID:
            raise ConfigError(f"the grid has {n:,} points. Search fewer settings or choices, or at random")
        return [dict(zip(points, values, strict=True)) for values in itertools.product(*points.values())]

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial of another search could be one of this."""
        if set(params) != set(self.spans):
            return False
        return all(_widened(span, params[name]) == span for name, span in self.spans.items())

    def _check(self, name: str, span: Span) -> None:
        for value in span.choices or span.ends:
            try:
                check_settings(self.settings({name: value}))
            except ConfigError as error:
                raise ConfigError(f"[tune.space.{name.replace('.', '] ')} = {value!r}: {error}") from None


def _given(config: JobConfig) -> Params:
    """Every setting a search could change, as the job has it; None where it has none."""
    model = make_model(config.model)
    given: Params = {}
    for name, parameter in inspect.signature(MODELS[model.kind]).parameters.items():
        value = config.model.get(name, parameter.default)
        if value is None and isinstance(own := getattr(model, name, None), int | float):
            value = own  # found by the model, from its other settings
        if name not in FIXED:
            given[f"model.{name}"] = value
    cleaning = inspect.signature(clean).parameters
    return given | {f"clean.{name}": config.clean.get(name, cleaning[name].default) for name in CLEAN}


def _usual(config: JobConfig) -> dict[str, Span]:
    model = make_model(config.model)
    solver = getattr(model, "solver", "")
    key = f"fm {'gradient' if solver in GRADIENT else solver}" if model.kind == "fm" else model.kind
    if key not in USUAL:
        raise ConfigError(f"{key} has nothing to be searched. Choose one of als, bpr, biased_mf, fm")
    given = _given(config)
    return {
        f"model.{name}": told if isinstance(told, Span) else _around(given[f"model.{name}"], told)
        for name, told in USUAL[key].items()
    }


def _around(value: float, times: float) -> Span:
    if not value > 0:
        raise ConfigError(
            "a setting that is 0 has no surroundings to be searched in. Name what is searched in [tune.space]"
        )
    return Span(low=float(f"{value / times:.3g}"), high=float(f"{value * times:.3g}"), log=True)


def _widened(span: Span, value: Any) -> Span:
    """Return the span with a value in it; None and what is of another kind are left out."""
    if span.choices:
        held = any(type(one) is type(value) and one == value for one in span.choices)
        return span if held or value is None else msgspec.structs.replace(span, choices=(*span.choices, value))
    low, high = span.ends
    if not isinstance(value, int | float) or isinstance(value, bool) or (span.log and value <= 0):
        return span
    low, high = min(low, value), max(high, value)
    return msgspec.structs.replace(span, low=float(low) if isinstance(value, float) else low, high=high)


def _distribution(span: Span) -> BaseDistribution:
    if span.choices:
        return CategoricalDistribution(span.choices)
    low, high = span.ends
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=span.log)
    return FloatDistribution(low, high, log=span.log)


def _points(span: Span) -> list[Any]:
    """Choices, or points at equal distances from end to end."""
    if span.choices:
        return list(span.choices)
    low, high = span.ends
    whole = isinstance(low, int) and isinstance(high, int)
    shares = [at / (_GRID_POINTS - 1) for at in range(_GRID_POINTS)]
    if span.log:
        points = [low * (high / low) ** share for share in shares]
    else:
        points = [low + (high - low) * share for share in shares]
    inner = (round(point) if whole else float(f"{point:.6g}") for point in points[1:-1])
    return list(dict.fromkeys((low, *inner, high)))
