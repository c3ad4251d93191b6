"""What a serving container loads, measured in a fresh process."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
bare = set(sys.modules)
import numpy
with_numpy = set(sys.modules)
import recsys.serving, recsys.stores
print(json.dumps([sorted(with_numpy - bare), sorted(set(sys.modules) - with_numpy)]))
"""


def loaded(script=SCRIPT):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def foreign(modules):
    tops = {name.partition(".")[0] for name in modules}
    # the build back end's hook finds the compiled module of an editable install
    return {top for top in tops - {"recsys"} - set(sys.stdlib_module_names) if not top.startswith("_")}


def test_serving_loads_numpy_and_ours_and_nothing_else():
    _, ours = loaded()
    assert foreign(ours) <= {"numpy"}
    assert "recsys.kernels._kernels" in ours
    for layer in ("recsys.data", "recsys.models", "recsys.evaluation", "recsys.kernels.reference"):
        assert not any(name == layer or name.startswith(f"{layer}.") for name in ours), layer


def test_the_check_above_catches_a_heavy_import():
    _, ours = loaded(SCRIPT.replace("import recsys.serving", "import scipy.sparse, recsys.data, recsys.serving"))
    assert foreign(ours) >= {"scipy", "pyarrow"}


def test_the_api_adds_chalice_and_what_it_needs():
    script = f"""
import json, sys
bare = set(sys.modules)
sys.path.insert(0, {str(ROOT / "chalice_app")!r})
import app
print(json.dumps([[], sorted(set(sys.modules) - bare)]))
"""
    _, modules = loaded(script)
    assert not {"scipy", "implicit", "pyarrow", "rich", "typer", "boto3", "botocore", "msgspec"} & foreign(modules)


def test_no_first_answer_to_a_get_imports_anything_more(tmp_path):
    """An import within the first request is paid by a client: numpy.ma once took longer than verifying the artefact."""
    publish = """
import sys
from pathlib import Path
from world import World
from recsys.data import Dataset, interactions_from_tuples
from recsys.models import ImplicitALS
pairs = [(f"u{n % 20}", f"i{n % 7}", 1.0) for n in range(60)]
data = Dataset.from_interactions(interactions_from_tuples(sorted(set(pairs))))
World(Path()).publish(ImplicitALS(factors=2, iterations=1).fit(data))
"""
    ask = """
import json, sys
from types import SimpleNamespace
from app import app
before = set(sys.modules)
def get(route, **parameters):
    answer = app({
        "resource": route, "requestContext": {"httpMethod": "GET", "resourcePath": route}, "headers": {},
        "pathParameters": {"ns": "shop", **parameters}, "multiValueQueryStringParameters": None,
        "stageVariables": None, "body": None, "isBase64Encoded": False,
    }, SimpleNamespace(aws_request_id="1"))
    assert answer["statusCode"] == 200, answer
get("/v1/{ns}/users/{user}/recommendations", user="u1")
get("/v1/{ns}/users/{user}/recommendations", user="stranger")
get("/v1/{ns}/items/{item}/similar", item="i1")
get("/v1/{ns}/popular")
from recsys.events import InteractionEvent
from chalicelib.wiring import service
service().record_events("shop", [InteractionEvent("e", "u2", "i1", 1.0)])
get("/v1/{ns}/users/{user}/recommendations", user="u2")
print(json.dumps([sorted(before), sorted(set(sys.modules) - before)]))
"""
    paths = {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'chalice_app'}"}
    stores = {
        "RECSYS_ARTIFACTS": "file:artifacts",
        "RECSYS_REGISTRY": "file:registry",
        "RECSYS_ONLINE": "sqlite:online",
    }
    environment = {**os.environ, **paths, **stores}
    subprocess.run([sys.executable, "-c", publish], cwd=tmp_path, env=environment, check=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    imported, later = json.loads(done.stdout)
    assert later == []
    assert not {"scipy", "boto3", "botocore", "msgspec"} & foreign(imported)
    assert "shutil" not in imported
