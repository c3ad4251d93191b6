"""The lines of a log: where they are caught, and what every one of them must be."""

import json
import re
import threading

from recsys.telemetry import UNITS

METRICS = {"Latency", "ColdStart", "Fallback", "Degraded", "ModelAge"}
PROPERTIES = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00",
    "level": "INFO|ERROR",
    "function": "local",
    "request_id": "[0-9a-f-]{36}",
    "xray_trace_id": "1-[0-9a-f]{8}-[0-9a-f]{24}",
    "traceparent": "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
    "method": "GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS|other",
    "namespace": "shop|films|small|big",
    "strategy": "als|fm|machine|fold_in|context|popular|similar|trending|no_history",
    "model_version": r"\d{8}T\d{6}Z-[0-9a-f]{8}",
    "error": "[ -~]{1,1000}",
}
"""All a line may say, in full; a route is one of the app's. Anything else may be somebody's id."""


class Lines(threading.local):
    """In the place of stderr; each thread finds the lines it wrote."""

    def __init__(self):
        self.written = []

    def write(self, text):
        self.written.append(text)

    def flush(self):
        pass

    def take(self):
        lines, self.written = self.written, []
        return lines


def check_line(text, routes):
    """Return the line, parsed: one line of strict JSON, valid EMF, and of each member what it may be."""
    assert text.isascii()
    assert text.rstrip("\n").isprintable(), text
    assert len(text) < 3000
    line = json.loads(text, parse_constant=_refuse)
    check_emf(line)
    assert line["level"] == ("ERROR" if "error" in line else "INFO")
    if not line["route"].endswith("/batch"):  # of which a part may have failed
        assert ("error" in line) == (line["status"] >= 500), line
    assert line["route"] in routes
    for name in set(line) - {"_aws", "status", "route"} - METRICS:
        assert re.fullmatch(PROPERTIES[name], line[name]), (name, line)
    return line


def _refuse(name):
    raise AssertionError(f"{name} is not JSON")


def check_emf(line):
    """Hold a line against the schema of the embedded metric format, and against cost: few dimensions, known metrics."""
    assert set(line["_aws"]) == {"Timestamp", "CloudWatchMetrics"}
    assert type(line["_aws"]["Timestamp"]) is int
    told = set()
    for directive in line["_aws"]["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 1024
        assert directive["Dimensions"] in ([["function"]], [["function", "strategy"]])
        for dimension in directive["Dimensions"][0]:
            assert isinstance(line[dimension], str)
            assert 1 <= len(line[dimension]) <= 1024
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert metric == {"Name": metric["Name"], "Unit": UNITS[metric["Name"]]}
            assert type(line[metric["Name"]]) in (int, float)
            told.add(metric["Name"])
    assert told == set(line) & METRICS
