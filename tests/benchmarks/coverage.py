"""How often intervals hold the truth and tests see what is not there, by the number of users and the seed.

1,000 simulated comparisons a line; 0.7 % is the standard error of a share near 95 %.
"""

from pathlib import Path

from recsys.evaluation import bca_interval, sign_flip_test
from tests.benchmarks.harness import options, report
from tests.comparisons import covered, population, rejected

RESAMPLES = 2_000


def main() -> None:
    """Run all sizes."""
    chosen = options(__doc__ or "")
    better, alike = population(1.15), population(1.0)
    rows: list[dict[str, object]] = [
        {
            "users": users,
            "seed": seed,
            "covered": covered(
                better, lambda a, b, one: bca_interval(a - b, resamples=RESAMPLES, seed=one), users=users, seed=seed
            ),
            "rejected": rejected(
                alike, lambda a, b, one: sign_flip_test(a - b, resamples=RESAMPLES, seed=one), users=users, seed=seed
            ),
        }
        for users in ((30, 100) if chosen.quick else (30, 100, 500, 1_000))
        for seed in range(3)
    ]
    report("Comparisons with a known truth", rows, chosen.json or Path("var/bench/coverage.jsonl"))


if __name__ == "__main__":
    main()
