"""`recsys score` holds a part, however many users there are."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys
sys.path[:0] = [sys.argv[1]]
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from pathlib import Path
from benchmarks.memory import peak_of
from crowd import publish_under
from batch_jobs import score as job
from batch_jobs.console import Screen
from batch_jobs.stores import Stores

users, job.PART_ROWS, job.BLOCK_ROWS = int(sys.argv[2]), int(sys.argv[3]), 5_000
publish_under(Path.cwd(), users=users, items=2_000, width=16)
stores = Stores.from_environment()
opened = job._in_service(stores, "shop")
for part in (opened[1].factors, opened[1].users, opened[1].items, opened[1].histories, opened[0].codes):
    arrays = part if isinstance(part, tuple) else vars(part).values()
    for array in arrays:  # pages are mapped, not held; all are there before the job's memory is counted
        if hasattr(array, "max"):
            array.max(initial=0)
job._in_service = lambda *_: opened
order = job.Order(50, {}, Path("lists"), False, job.Shard(), 1)
print(peak_of(lambda: job.score(stores, "shop", order, Screen(as_json=True))))
"""
TESTS = Path(__file__).parents[1]


def peak(folder, users, part_rows=25_000):
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, TESTS, str(users), str(part_rows)],
        cwd=folder, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return int(done.stdout)


def test_ten_times_the_users_take_no_more_memory_and_all_lists_at_once_would(tmp_path):
    few, many = peak(tmp_path / "few", 5_000), peak(tmp_path / "many", 50_000)
    at_once = peak(tmp_path / "at once", 50_000, part_rows=10**9)
    print(f"{few:,} {many:,} {at_once:,}")
    assert many < few + (4 << 20)
    assert at_once > few + (8 << 20)
