"""What a serving container loads, measured in a fresh process."""

import json
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


def test_the_api_adds_chalice_msgspec_and_what_they_need():
    script = f"""
import json, sys
bare = set(sys.modules)
sys.path.insert(0, {str(ROOT / "chalice_app")!r})
import app
print(json.dumps([[], sorted(set(sys.modules) - bare)]))
"""
    _, modules = loaded(script)
    assert not {"scipy", "implicit", "pyarrow", "rich", "typer", "boto3", "botocore"} & foreign(modules)
