"""`recsys nightly` on real data, and the README's table of results against what it prints."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "datasets"
README = (ROOT / "README.md").read_text()
COMMANDS = dict(re.findall(r"^recsys nightly ((?:gowalla|ml-latest-small)\S*)((?: .*\\\n)?.*)$", README, re.MULTILINE))
TITLES = {"gowalla/train.txt": "gowalla, given test file", "ml-latest-small": "ml-latest-small, cut in time"}

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="shared/datasets is not here")


def documented(title):
    """``{model: (recall, ndcg)}`` of one data set in the README's table."""
    table = README[README.index(f"| {title} |") :].splitlines()
    rows = [table[0], *[line for line in table[1:3] if line.startswith("| |")]]
    cells = [[cell.strip() for cell in row.strip("|").split("|")][1:] for row in rows]
    kind = {"popularity": "popularity", "item-kNN": "item_knn", "ALS": "als"}
    return {kind[model.split(",")[0]]: (float(recall), float(ndcg)) for model, recall, ndcg in cells}


@pytest.mark.parametrize("data", TITLES)
def test_the_readmes_command_gives_the_readmes_figures(data, tmp_path):
    arguments = (
        COMMANDS[data]
        .replace("\\\n", " ")
        .replace("gowalla/", f"{SHARED}/gowalla/")
        .replace("'weights=\"binary\"'", 'weights="binary"')
    )
    command = [sys.executable, "-m", "batch_jobs.cli", "nightly", str(SHARED / data), *arguments.split(), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    for model, (recall, ndcg) in documented(TITLES[data]).items():
        means = results[model]["means"]
        assert means["recall@20"] == pytest.approx(recall, abs=0.001), model
        assert means["ndcg@20"] == pytest.approx(ndcg, abs=0.001), model
    if data.startswith("gowalla"):
        popularity = results["popularity"]["means"]["ndcg@20"]
        assert min(results[model]["means"]["ndcg@20"] for model in ("als", "item_knn")) > 2 * popularity
    assert (tmp_path / "var" / "registry" / "default" / "current.json").is_file()
