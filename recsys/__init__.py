"""Serverless recommendations: train factors in batch, serve exact top-K lists in milliseconds.

Importing this package loads nothing heavy; take what you need from the sub-packages:
`recsys.data`, `recsys.models`, `recsys.evaluation` in notebooks and jobs, `recsys.serving`
and `recsys.artifacts` where lists are served.
"""

__version__ = "0.1.0"
