"""The mean of many draws as one machine."""

import numpy as np
import pytest
from fm_problems import copied, problem

from recsys.models.fm.parameters import Parameters
from recsys.models.fm.posterior import Posterior


def test_few_draws_are_averaged_as_they_are():
    design, _, rng = problem(factors=3)
    draws = [Parameters.random(design, 3, 1.0, rng) for _ in range(5)]
    posterior = Posterior(design, 1, 12)
    for draw in draws:
        posterior.add(draw)
    assert posterior.count == 4
    expected = np.mean([draw.predict(design) for draw in draws[1:]], axis=0)
    np.testing.assert_allclose(posterior.mean().predict(design), expected, atol=1e-5)
    assert posterior.mean().vectors.ctypes.data % 64 == 0


def test_many_draws_of_one_machine_need_its_factors_only():
    design, parameters, rng = problem(factors=3)
    posterior = Posterior(design, 0, 4)
    for _ in range(40):
        rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)
        turned = copied(parameters)
        turned.vectors[:, :3] = parameters.vectors[:, :3] @ rotation
        posterior.add(turned)
    mean = posterior.mean()
    assert mean.factors == 4
    np.testing.assert_allclose(mean.predict(design), parameters.predict(design), atol=1e-4)


def test_what_is_left_out_of_the_mean_is_the_least_by_weighed_squares():
    design, _, rng = problem(factors=4)
    draws = [Parameters.random(design, 4, 1.0, rng) for _ in range(2)]
    posterior = Posterior(design, 0, 5)
    for draw in draws:
        posterior.add(draw)
    roots = np.sqrt(np.asarray((design.flat().to_csr() != 0).sum(axis=0)).ravel())[:, None]
    both = np.concatenate([draw.vectors[:, :4] for draw in draws], axis=1) / 2**0.5
    exact, kept = (roots * vectors.astype(np.float64) for vectors in (both, posterior.mean().vectors))
    left = np.linalg.eigvalsh(exact @ exact.T)[:-5]
    assert np.linalg.norm(exact @ exact.T - kept @ kept.T) == pytest.approx(np.linalg.norm(left), rel=1e-4)
