"""Nothing we ship executes what it reads, or prints what it was given in confidence. Found in the syntax tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("recsys", "batch_jobs", "chalice_app")
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve", "dbm"}
CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
QUALIFIED = {
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("pandas.read_pickle", "pd.read_pickle", "torch.load", "tempfile.mktemp", "code.interact", "runpy.run_path"),
    *("json.load_pickle", "ctypes.CDLL", "importlib.import_module"),
}
SPEAKS = {
    "print",
    "note",
    "debug",
    "info",
    "warning",
    "error",
    "exception",
    "critical",
    "log",
    "write",
    "dump",
    "dumps",
}


def dotted(node):
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def is_environment(node):
    """The whole environment; one variable by its name is no secret given away by accident."""
    by_name = {id(one.value) for one in ast.walk(node) if isinstance(one, ast.Attribute | ast.Subscript)}
    return any(
        dotted(one) in ("os.environ", "environ", "os.environb") and id(one) not in by_name
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute | ast.Name)
    )


def faults(source):
    """Yield (line, what is wrong) of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            yield from ((node.lineno, f"import of {name}") for name in names if name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare except"
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in CALLS or name in QUALIFIED:
                yield node.lineno, f"call of {name}"
            for keyword in node.keywords:
                is_off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in ("shell", "allow_pickle") and not is_off:
                    yield node.lineno, f"{keyword.arg}="
            if name.rpartition(".")[2] in SPEAKS and any(
                is_environment(value) for value in [*node.args, *(one.value for one in node.keywords)]
            ):
                yield node.lineno, "the environment is printed"


def sources():
    found = [path for room in SHIPPED for path in sorted((ROOT / room).rglob("*.py")) if "vendor" not in path.parts]
    assert len(found) > 40
    return found


def test_no_shipped_module_executes_what_it_reads_or_prints_its_environment():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {fault}"
        for path in sources()
        for line, fault in faults(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "def f():\n    import shelve",
        "import joblib.numpy_pickle",
        "eval(text)",
        "exec(text)",
        "yaml.load(text)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "try:\n    f()\nexcept:\n    pass",
        "print(os.environ)",
        "print(dict(os.environ))",
        "log.info('started %s', os.environ)",
        "logging.warning(f'{os.environ}')",
        "json.dumps({'env': dict(os.environ)})",
    ],
)
def test_the_check_finds_what_is_planted(planted):
    assert list(faults(planted))


@pytest.mark.parametrize(
    "harmless",
    [
        "print(os.environ['RECSYS_EVENTS'])",
        "print(os.environ.get('RECSYS_EVENTS'))",
        "np.load(path, allow_pickle=False)",
        "try:\n    f()\nexcept ValueError:\n    pass",
        "model.eval()",
        "re.compile(text)",
        "# pickle\ntext = 'eval(pickle)'",
    ],
)
def test_the_check_lets_through_what_is_harmless(harmless):
    assert list(faults(harmless)) == []
