"""One JSON line a request: for people a structured log, for CloudWatch embedded metrics (EMF), for X-Ray the trace.

Metrics, all in the CloudWatch namespace `NAMESPACE` with the dimension ``function`` (the Lambda function's name, which
holds app and stage); latency also by ``function, strategy``. Namespaces, routes, versions and statuses are properties:
every combination of dimensions is billed as a metric of its own, a property is found by Logs Insights and costs nothing.
"""

NAMESPACE = "Recsys"
LATENCY = "Latency"  # Milliseconds, every request; its SampleCount is the number of requests
COLD_START = "ColdStart"  # Count, 1 for the first request of a process, else 0
FALLBACK = "Fallback"  # Count, of personal lists: 1 where popular items stood in, else 0; its Average is the share
DEGRADED = "Degraded"  # Count, of answers from a model: 1 where a store was out of reach, else 0
MODEL_AGE = "ModelAge"  # Seconds since the model that answered was made
