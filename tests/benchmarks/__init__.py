"""Benchmarks against named peers; run with ``python -m tests.benchmarks.NAME``. None asserts a time."""
