"""Models, experiments and the process itself."""

from typing import Any

from chalicelib.bodies import MoveIn
from chalicelib.experiment import ExperimentIn
from chalicelib.openapi.answers import LiveOut, ReadyOut
from chalicelib.openapi.operating_answers import CurrentModelOut, ExperimentOut, MetricsOut, ModelsOut, MovedOut
from chalicelib.openapi.operation import VERSION, Example, Operation

MODELS, EXPERIMENT = "/v1/{ns}/models", "/v1/{ns}/experiment"
MODEL = {
    "version": VERSION,
    "kind": "als",
    "created_at": "2026-01-02T03:04:05+00:00",
    "metrics": {"ndcg@10": 0.24},
    "in_service": True,
}
MOVED = {"version": VERSION, "sequence": 8, "previous": 7}
SENT = {
    "name": "some luck",
    "variants": [
        {"name": "as it was", "share": 0.5},
        {"name": "lucky", "share": 0.5, "exploration": {"kind": "epsilon", "epsilon": 0.1, "pool": 50}},
    ],
}
SPLIT = {
    "name": "some luck",
    "salt": "some luck",
    "variants": [{"version": "current", "exploration": None, **one} for one in SENT["variants"]],
    "started_at": "2026-01-02T03:04:05.000+00:00",
}
ENDED = SPLIT | {"ended_at": "2026-02-02T03:04:05.000+00:00"}
METRICS = {
    "since_s": 1767225600.0,
    "routes": [{"route": "/v1/{ns}/popular", "method": "GET", "count": 9, "errors": 0, "p50_ms": 0.9, "p99_ms": 2.1}],
    "strategies": {"popular": 9},
    "degraded": 0,
}

OPERATING = (
    Operation("GET", MODELS, ModelsOut, (Example({"models": [MODEL]}, "shop.models()"),)),
    Operation(
        *("GET", f"{MODELS}/current", CurrentModelOut),
        (Example(MODEL | {"sequence": 8, "previous": 7}, "shop.current_model()"),),
    ),
    Operation(
        *("POST", f"{MODELS}/{{version}}/activate", MovedOut),
        (Example(MOVED, f'shop.activate("{VERSION}")', {"version": VERSION}, body={"expected": 7}, in_readme=False),),
        *(MoveIn, (), (409,)),
    ),
    Operation(
        *("POST", f"{MODELS}/rollback", MovedOut),
        (Example(MOVED, "shop.roll_back()", body={"expected": 7}, in_readme=False),),
        *(MoveIn, (), (409,)),
    ),
    Operation(
        *("PUT", EXPERIMENT, ExperimentOut),
        (Example({"experiment": SPLIT}, f"shop.put_experiment({SENT!r})", body=SENT),),
        ExperimentIn,
    ),
    Operation("GET", EXPERIMENT, ExperimentOut, (Example({"experiment": SPLIT}, "shop.experiment()"),)),
    Operation("DELETE", EXPERIMENT, ExperimentOut, (Example({"experiment": ENDED}, "shop.end_experiment()"),)),
    Operation("GET", "/metrics", MetricsOut, (Example(METRICS),), text="text/plain"),
    Operation("GET", "/health/live", LiveOut, (Example({"status": "live"}),)),
    Operation("GET", "/health/ready", ReadyOut, (Example({"status": "ready"}),)),
    Operation("GET", "/v1/openapi.json", dict[str, Any]),
    Operation("GET", "/console", None, text="text/html"),
)
