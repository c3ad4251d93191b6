"""The notebooks: pairs in step, without outputs, over the public API alone, and true from top to bottom."""

import ast
import importlib
import os
from contextlib import closing
from pathlib import Path

import jupytext
import nbformat
import pytest
from clouds import Aws
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell as code
from nbformat.v4 import new_notebook

from batch_jobs.config import load
from batch_jobs.console import Screen
from batch_jobs.nightly import nightly
from batch_jobs.stores import Stores
from recsys.events import InteractionEvent

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = sorted({path.stem for path in FOLDER.iterdir() if path.suffix in (".py", ".ipynb")})
PUBLIC = ("data", "models", "evaluation", "artifacts", "serving", "stores", "errors", "encoding")
REMEDY = "python -m jupytext --to ipynb notebooks/{}.py writes it anew, without outputs"

CLAIMS = {  # what the prose says of the numbers
    "quick_start": """
recalls = [results[name].mean("recall@20") for name in ("popularity", "item-kNN", "ALS")]
assert recalls == sorted(recalls)
assert results["popularity"].mean("coverage@20") < 0.5 < results["ALS"].mean("coverage@20")
assert share > 0.4
""",
    "comparing_models": """
assert default["ALS"].mean("ndcg@20") < baselines["item-kNN"].mean("ndcg@20")
found = {name: {one.metric: one for one in comparison} for name, comparison in comparisons.items()}
assert all(one.high < 0 and one.adjusted_p < 0.05 for one in found["popularity"].values())
assert found["item-kNN"]["ndcg@20"].adjusted_p < 0.05 < found["item-kNN"]["recall@20"].adjusted_p
assert found["item-kNN"]["recall@20"].high < 0
assert all(one.low < 0 < one.high for name in ("BPR", "FM") for one in found[name].values())
assert max(one.high for name in ("BPR", "FM") for one in found[name].values()) < searched
assert max(seeds) - min(seeds) < between < searched
assert 0 < hits < len(pairs) / 10
""",
    "choosing_settings": """
assert chosen.factors == 8 and chosen.iterations == 6
assert sum(als.scores[-1] < 0.9 * max(als.scores) for als in trials) == 3
assert trials[0].factors == trials[-1].factors == min(als.factors for als in trials)
assert trials[2].factors == max(als.factors for als in trials)
assert sorted((als.regularization for als in trials), reverse=True).index(trials[2].regularization) == 1
assert max(best.scores) < tuned.mean("ndcg@20")
assert tuned.mean("ndcg@20") > untuned.mean("ndcg@20")
""",
    "looking_at_lists": """
assert als.factors == 8 and np.mean(shares) > 3 * by_chance
assert distance["ALS"] < distance["popularity"]
""",
    "published_model": """
assert stored.manifest.version == answer.model_version == explained.model_version
assert answer.strategy == "fold_in" and len(history) > 5
assert all(abs(sum(one.value for one in item.contributions) - item.raw_score) < 1e-5 for item in explained.items)
assert [one.raw_score for one in explained.items] == sorted((one.raw_score for one in explained.items), reverse=True)
""",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_two_of_a_pair_are_in_step_and_stripped(name):
    assert out_of_step(FOLDER, name) == [], REMEDY.format(name)


def test_a_pair_out_of_step_is_found(tmp_path):
    text = (FOLDER / "quick_start.py").read_text()
    for file, written in (("quick_start.py", text.replace("u132", "u133")), ("alone.py", text)):
        (tmp_path / file).write_text(written)
    notebook = nbformat.read(FOLDER / "quick_start.ipynb", 4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="hello")]
    nbformat.write(notebook, tmp_path / "quick_start.ipynb")
    found = out_of_step(tmp_path, "quick_start")
    assert [words.partition(" ")[0] for words in found] == ["outputs", "cell"]
    assert "u133" in found[1]
    assert out_of_step(tmp_path, "alone") == ["one of the two is missing"]


def out_of_step(folder, name):
    script, notebook = (folder / f"{name}{suffix}" for suffix in (".py", ".ipynb"))
    if not (script.exists() and notebook.exists()):
        return ["one of the two is missing"]
    text, paired = jupytext.read(script), nbformat.read(notebook, 4)
    faults = [
        f"outputs in {cell.source!r}" for cell in paired.cells if cell.get("outputs") or cell.get("execution_count")
    ]
    cells = [[(cell.cell_type, cell.source) for cell in one.cells] for one in (text, paired)]
    if cells[0] != cells[1]:
        faults += [f"cell only in the script: {cell}" for cell in cells[0] if cell not in cells[1]] or ["cells moved"]
    return faults


@pytest.mark.parametrize("name", NAMES)
def test_it_uses_the_public_api_alone(name):
    assert list(beyond_the_public((FOLDER / f"{name}.py").read_text())) == []


@pytest.mark.parametrize(
    "line",
    [
        "from batch_jobs.train import fit",
        "import recsys.models",
        "from recsys.models.als import ImplicitALS",
        "from recsys.aws import s3",
        "from recsys.models import base",
        "als._factors",
        "from recsys.evaluation import _cells",
    ],
)
def test_what_is_not_public_is_found(line):
    assert len(list(beyond_the_public(f"als = 1\n{line}\n"))) == 1


def beyond_the_public(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.split(".")[0] in ("recsys", "batch_jobs", "tests"))
        elif isinstance(node, ast.ImportFrom):
            package, _, inner = (node.module or "").partition(".")
            if package in ("batch_jobs", "chalice_app", "tests") or (package == "recsys" and inner not in PUBLIC):
                yield node.module
            elif package == "recsys":
                module = importlib.import_module(node.module)
                public = getattr(module, "__all__", None) or [one for one in vars(module) if one[0] != "_"]
                yield from (one.name for one in node.names if one.name not in public)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            yield node.attr


@pytest.fixture(scope="module")
def in_service(clouds, tmp_path_factory):
    """Where a bookshop is on S3 and DynamoDB, with a reader who has done something since the training."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clouds("ministack").items():
            patch.setenv(name, value)
        made = Aws()
        places = {"ARTIFACTS": f"s3://{made.bucket()}/models", "REGISTRY": f"dynamodb://{made.table()}"} | {
            "ONLINE": f"dynamodb://{made.table()}", "EVENTS": f"file:{folder}/events", "RUNS": f"file:{folder}/runs",
            "CACHE": f"{folder}/cache",
        }  # fmt: skip
        for name, place in places.items():
            patch.setenv(f"RECSYS_{name}", place)
        publish()
        return {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "RECSYS_"))}


def publish():
    sample = FOLDER.parent / "data" / "sample"
    files = {"files": [str(sample / "interactions.csv")], "items": str(sample / "items.csv"), "settle_s": 0}
    model = {"kind": "als", "factors": 8, "regularization": 0.025, "unobserved_weight": 0.78, "iterations": 6}
    settings = {"namespace": "shop", "ingest": files, "model": model, "clean": {"weights": "binary"}}
    stores = Stores.from_environment()
    with closing(stores.online):
        nightly(stores, load(None, settings), Screen(as_json=True))
        event = InteractionEvent("e-1", "u132", "i365", 1767225600, "view", 1.0, None)
        stores.service().record_events("shop", [event])


@pytest.fixture(scope="module")
def executed(in_service):
    """Cells of each notebook, run one after the other in one process, each with a namespace of its own.

    To start a process for each takes longer than most of them.
    """
    cells = {name: jupytext.read(FOLDER / f"{name}.py").cells for name in NAMES}
    for name, some in cells.items():
        places = in_service if name == "published_model" else {}
        some.insert(0, code(f"%reset -f\nimport os\nos.environ |= {places}\ndel os"))
        some.append(code(CLAIMS.get(name, "")))
    notebook = new_notebook(cells=[cell for some in cells.values() for cell in some])
    where = {"metadata": {"path": str(FOLDER)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        NotebookClient(notebook, timeout=120, allow_errors=True, resources=where).execute()
    return cells


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_top_to_bottom_and_says_what_is_so(name, executed):
    outputs = [output for cell in executed[name] for output in cell.get("outputs", [])]
    told = [output.get("text") or f"{output.ename}: {output.evalue}" for output in outputs if is_bad(output)]
    assert told == []
    figures = sum(cell.source.count("plt.show()") for cell in executed[name])
    assert sum("image/png" in output.get("data", {}) for output in outputs) == figures
    if folder := os.environ.get("RECSYS_NOTEBOOKS"):  # to look at them, as they came out
        nbformat.write(new_notebook(cells=executed[name]), Path(folder) / f"{name}.ipynb")


def is_bad(output):
    return output.output_type == "error" or output.get("name") == "stderr"
