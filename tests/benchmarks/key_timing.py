"""Whether a refusal takes as long for an id nobody has as for a wrong secret: `python -m tests.benchmarks.key_timing`.

Both are asked of the whole app, in turn and in random order, over a store of 100 keys. The difference within each pair
is ranked (Wilcoxon); planted beside it is a gate that answers at once where there is no such id.
"""

import random
import secrets
import statistics
import sys
import tempfile
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

from scipy.stats import wilcoxon

sys.path.append(str(Path(__file__).parents[2] / "chalice_app"))
from app import app

from chalicelib import auth, face
from recsys.serving import SQLiteOnlineStore
from recsys.serving.online.keys import ApiKey
from tests.benchmarks.harness import options, report

ROUTE = "/v1/{ns}/popular"


def seconds(key: str) -> float:
    """Ask with a key; how long the refusal took."""
    event = {
        "requestContext": {"httpMethod": "GET", "resourcePath": ROUTE},
        "headers": {"x-api-key": key},
        "pathParameters": {"ns": "shop"},
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "body": None,
    }
    began = time.perf_counter()
    answer = app(event, SimpleNamespace(aws_request_id="1"))
    spent = time.perf_counter() - began
    assert answer["statusCode"] == 401
    return spent


def contest(name: str, ids: list[str], pairs: int) -> dict[str, object]:
    """One row: medians, and the probability of such ranks where there is no difference."""
    rng, spent = random.Random(0), {"unknown": [], "wrong": []}
    for number in range(-100, pairs):
        keys = {"unknown": secrets.token_hex(6), "wrong": rng.choice(ids)}
        for state in rng.sample(sorted(keys), 2):
            took = seconds(f"rs_{keys[state]}_{secrets.token_hex(32)}")
            if number >= 0:
                spent[state].append(took)
    medians = {f"{state} us": 1e6 * statistics.median(every) for state, every in spent.items()}
    return {"gate": name, "pairs": pairs, **medians, "p": float(wilcoxon(spent["unknown"], spent["wrong"]).pvalue)}


def main() -> None:
    """Compare, without --quick ten times as many pairs."""
    chosen = options(__doc__.partition("\n")[0])
    sys.stderr = SimpleNamespace(write=lambda _: None, flush=lambda: None)
    with tempfile.TemporaryDirectory() as folder, closing(SQLiteOnlineStore(Path(folder) / "online.db")) as store:
        ids = [secrets.token_hex(6) for _ in range(100)]
        for one in ids:
            store.keys.add(ApiKey(one, sha256(secrets.token_bytes(32)).hexdigest(), ("read",), ("*",)))
        gate, plain = auth.Gate(store.keys, "required"), auth.Gate._of_key
        face.gate = lambda: gate
        pairs = 2_000 if chosen.quick else 20_000
        rows = [contest("ours", ids, pairs)]

        def planted(self: auth.Gate, text: str) -> auth.Who:
            if text.split("_")[1] not in ids:
                raise auth.refused("the key is not valid")
            return plain(self, text)

        auth.Gate._of_key = planted
        rows.append(contest("planted", ids, pairs))
    sys.stderr = sys.__stderr__
    report("Unknown id against wrong secret", rows, chosen.json or Path("var/bench/key_timing.jsonl"))


if __name__ == "__main__":
    main()
