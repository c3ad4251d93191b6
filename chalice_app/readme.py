"""The part of the README that is made from the table of operations: ``python chalice_app/readme.py`` writes it."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
sys.path[:0] = [str(HERE)]

from app import app  # noqa: E402 - the app is a folder, not an installed package

from chalicelib.openapi.document import summary  # noqa: E402
from chalicelib.openapi.operation import Example, Operation  # noqa: E402
from chalicelib.openapi.operations import OPERATIONS  # noqa: E402

URL = "http://127.0.0.1:8000"
PYTHON = f"""\
from recsys.client import Client

shop, moods = Client("{URL}", "shop"), Client("{URL}", "moods")
"""


def written(readme: str) -> str:
    """Return a README with what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` made anew."""
    for name, text in (("routes", _routes()), ("curl", _curl()), ("python", _python())):
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        readme = re.sub(pattern, lambda found, text=text: found[1] + text + found[2], readme, flags=re.DOTALL)
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(README), "-"]
    return subprocess.run(command, input=readme, capture_output=True, text=True, check=True).stdout


def _routes() -> str:
    rows = [f"| {one.method} `{one.path}` | {_scope(one)} | {_summary(one)} |\n" for one in OPERATIONS]
    return "".join(["| route | scope | what it does |\n| --- | --- | --- |\n", *rows])


def _scope(one: Operation) -> str:
    return app.scopes[one.method, one.path] or "public"


def _summary(one: Operation) -> str:
    return summary(app.routes[one.path][one.method].view_function.__doc__)


def _examples() -> Iterator[tuple[Operation, Example]]:
    return ((one, example) for one in OPERATIONS for example in one.examples if example.in_readme)


def _curl() -> str:
    return "".join(["```bash\n", *(curl(*one) + "\n" for one in _examples()), "```\n"])


def _python() -> str:
    lines = [example.python + "\n" for _, example in _examples() if example.python]
    return "".join(["```python\n", PYTHON, *lines, "```\n"])


def curl(one: Operation, example: Example) -> str:
    """Return the command of an example."""
    path = one.path.format(**{"ns": "shop", **example.path}) + (f"?{example.query}" if example.query else "")
    method = "" if one.method == ("GET" if example.body is None else "POST") else f" -X {one.method}"
    command = f"curl -s{method} {shlex.quote(URL + path)}"
    if example.body is None:
        return command
    body = json.dumps(example.body)
    if len(body) > 105:
        body = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in example.body.items())
        body = f"{{\n{body}}}"
    return f"{command} -H 'content-type: application/json' \\\n  -d {shlex.quote(body)}"


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
