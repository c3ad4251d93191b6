"""`make demo-aws` as anybody runs it: stores of the deployment's template, a model, events, a better model."""

import subprocess
import sys
from pathlib import Path


def test_the_demo_on_a_stand_in_ends_with_a_model_that_knows_the_events_sent():
    command = [sys.executable, "-m", "tests.demo_aws"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "was trained on 3 events more" in " ".join(done.stdout.split())
    assert "s3://" in done.stdout
    assert "1 message of the queue" in done.stderr
