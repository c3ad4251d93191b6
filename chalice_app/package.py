"""Make what is deployed: ``python -m chalice_app.package --stage dev --arch x86_64`` (make package).

The wheel is built for Lambda's glibc by clang, which the ziglang wheel brings, for this architecture or the other one;
numpy comes from the package index under the hashes of the lock. The interpreter of the runtime gives the headers, says
which requirements of the lock are meant and compiles every module, for Lambda could not keep what it compiled.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from chalice_app.bundle import GLIBC, check, import_faults
from recsys.errors import ConfigError, DataError, RecsysError, StorageError

ROOT = Path(__file__).parents[1]
APP = ROOT / "chalice_app"
TOOLS = Path(sys.executable).parent  # of the environment this runs in: chalice, cmake, ninja
RUNTIMES = ("python3.13", "python3.14", "python3.12")  # of Lambda, of chalice and of numpy; 3.11 has too old a glibc
FLOOR = 28  # of the wheel: glibc 2.28, as numpy's own
PROCESSORS = {"x86_64": "x86_64", "arm64": "aarch64"}
SHIPPED = ("numpy", "msgspec")  # what the API imports besides chalice and ourselves; botocore is in the runtime
TOKENS = ("pyjwt", "cryptography", "cffi")  # what reads tokens, a quarter of the zip: where it is asked for
TOKEN_SETTINGS = {"Jwks": "RECSYS_JWKS", "JwtIssuer": "RECSYS_JWT_ISSUER", "JwtAudience": "RECSYS_JWT_AUDIENCE"}
LEFT_OUT = ("tests", "*.pyi", "*.pxd", "*.h", "*.hpp", "*.cpp", "*.a", "__pycache__", "f2py", "include", "src")

COMPILER = """#!{python}
import os, sys
# zig spells the levels of x86-64 with underscores; nanobind counts on libstdc++ for <stdio.h>
given = [one.replace("x86-64-v", "x86_64_v") if one.startswith("-march=") else one for one in sys.argv[1:]]
zig = ["ziglang", "{language}", "-target", "{processor}-linux-gnu.2.{floor}", "-include", "stdio.h"]
os.execv(sys.executable, [sys.executable, "-m", *zig, *given])
"""


def interpreter(wanted: str | None) -> tuple[str, str]:
    """Return the path of an interpreter with headers that Lambda has a runtime for, and the name of the runtime."""
    ask = "import os, sys, sysconfig; assert os.path.exists(sysconfig.get_path('include') + '/Python.h'); "
    ask += "print(sys.executable, 'python%d.%d' % sys.version_info[:2])"
    for path in (path for name in ([wanted] if wanted else [*RUNTIMES, sys.executable]) for path in _places(name)):
        done = subprocess.run([path, "-c", ask], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0 and (found := done.stdout.split())[1] in RUNTIMES:
            return found[0], found[1]
    looked = f"{wanted} does not run" if wanted else f"None of {', '.join(RUNTIMES)} runs"
    raise ConfigError(
        f"{looked}, or it lacks its headers, or Lambda has no such runtime. "
        "Install one (Debian: apt-get install python3.13-dev) or name it: make package RUNTIME=/path/to/python3.13"
    )


def _places(name: str) -> Iterator[str]:
    """Find an interpreter on the path, then beside ours.

    Version managers keep each in VERSION/bin, and on the path a script that refuses those that were not chosen.
    """
    if found := shutil.which(name):
        yield found
    kept = Path(sys.base_prefix).parent
    if "/" not in name and kept != kept.parent:
        yield from sorted((str(one) for one in kept.glob(f"*/bin/{name}")), reverse=True)


class Bundle:
    """A package in the making.

    Parameters
    ----------
    folder : Path
        Where it is made; what is compiled stays there for the next time.
    stage, arch : str
        Of the API, and of Lambda's machines.
    python : str
        Interpreter of the runtime.
    runtime : str
        As Lambda names it.
    tokens : bool
        Whether the API can take tokens of an identity provider.
    """

    def __init__(self, folder: Path, stage: str, arch: str, python: str, runtime: str, *, tokens: bool) -> None:
        self.folder, self.stage, self.arch, self.python, self.runtime = folder, stage, arch, python, runtime
        self.tokens = tokens
        self.project = self.folder / "project"
        self.vendor = self.project / "vendor"

    def wheel(self) -> Path:
        """Build the wheel of the stable ABI; what is unchanged since the last time is not compiled again."""
        tools, wheels = self.folder / "tools", self.folder / "wheels"
        shutil.rmtree(wheels, ignore_errors=True)
        tools.mkdir(parents=True, exist_ok=True)
        processor, compilers = PROCESSORS[self.arch], {"CC": "cc", "CXX": "c++"}
        for language in compilers.values():
            script = COMPILER.format(python=sys.executable, language=language, processor=processor, floor=FLOOR)
            (tools / language).write_text(script)
            (tools / language).chmod(0o755)
        target = {name: str(tools / language) for name, language in compilers.items()}
        target["_PYTHON_HOST_PLATFORM"] = f"manylinux_2_{FLOOR}_{processor}"
        settings = [f"build-dir={self.folder / 'cmake'}"]
        if PROCESSORS[self.arch] != platform.machine():  # Python, of which CMake wants to know more, runs here as it is
            there = {"SYSTEM_NAME": "Linux", "SYSTEM_PROCESSOR": processor, "CROSSCOMPILING_EMULATOR": "env"}
            settings += [f"cmake.define.CMAKE_{name}={value}" for name, value in there.items()]
        given = [word for one in settings for word in ("-C", one)]
        self._pip(["wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels), *given, str(ROOT)], target)
        return next(wheels.glob("*.whl"))

    def install(self, wheel: Path) -> None:
        """Install our part of the wheel, and what it needs from the package index."""
        site = self.folder / "site"
        shutil.rmtree(site, ignore_errors=True)
        requirements = self.folder / "requirements.txt"
        requirements.write_text(locked(SHIPPED + TOKENS if self.tokens else SHIPPED))
        tags = [f"manylinux_2_{minor}_{PROCESSORS[self.arch]}" for minor in range(GLIBC, 16, -1)]
        only = [word for one in tags for word in ("--platform", one)]
        arguments = ["--no-deps", "--require-hashes", "--only-binary=:all:", *only, "--target", str(site)]
        self._pip(["install", "--no-compile", *arguments, "--requirement", str(requirements)])
        with ZipFile(wheel) as whole:
            whole.extractall(site, [one for one in whole.namelist() if one.startswith("recsys/")])

    def lay_out(self) -> None:
        """Lay out what was installed, without what is never imported; nothing is left for chalice to install."""
        self.lay_out_app()
        shutil.rmtree(self.vendor, ignore_errors=True)
        shutil.copytree(self.folder / "site", self.vendor, ignore=shutil.ignore_patterns(*LEFT_OUT, "bin"))

    def lay_out_app(self) -> None:
        """Copy the app with its settings for this architecture."""
        settings = json.loads((APP / ".chalice" / "config.json").read_text())
        (self.project / ".chalice").mkdir(parents=True, exist_ok=True)
        settings["lambda_architecture"] = self.arch
        (self.project / ".chalice" / "config.json").write_text(json.dumps(settings))
        (self.project / "requirements.txt").write_text("")
        merged = resources(self.stage, self.arch, self.runtime, tokens=self.tokens)
        (self.project / "resources.json").write_text(json.dumps(merged))
        shutil.copy(APP / "app.py", self.project)
        shutil.rmtree(self.project / "chalicelib", ignore_errors=True)
        shutil.copytree(APP / "chalicelib", self.project / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))

    def compile(self) -> None:
        """Compile everything, never to be compared with its source; what chalice adds itself lies beside vendor's."""
        import chalice

        shadow = self.folder / "chalice"
        shutil.rmtree(shadow, ignore_errors=True)
        shadow.mkdir()
        for name in ("__init__.py", "app.py"):
            shutil.copy(Path(chalice.__file__).parent / name, shadow)
        for folder, depth in ((self.vendor, 99), (self.project / "chalicelib", 99), (self.project, 0), (shadow, 0)):
            options = ["-q", "-f", "-r", str(depth), "--invalidation-mode", "unchecked-hash"]
            _run([self.python, "-m", "compileall", *options, "-s", str(folder), str(folder)])
        shutil.copytree(shadow / "__pycache__", self.vendor / "chalice" / "__pycache__")
        shutil.copytree(self.project / "__pycache__", self.vendor / "__pycache__")

    def write(self, output: Path) -> None:
        """Let chalice write zip and template; it imports the app from this environment, not from vendor."""
        shutil.rmtree(self.project / ".chalice" / "deployments", ignore_errors=True)
        chalice = [str(TOOLS / "chalice"), "--project-dir", str(self.project), "package"]
        merge = ["--stage", self.stage, "--merge-template", str(self.project / "resources.json")]
        _run([*chalice, *merge, str(output)], {"AWS_DEFAULT_REGION": os.environ.get("AWS_DEFAULT_REGION", "us-east-1")})
        template = json.loads((output / "sam.json").read_text())
        preflights(template)
        (output / "sam.json").write_text(json.dumps(template, indent=2))

    def _pip(self, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        """Run this environment's pip and build tools, all of them plain Python, by the interpreter of the runtime."""
        paths = {"PYTHONPATH": sysconfig.get_path("purelib"), "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
        pip = [self.python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _run([*pip, *arguments], paths | (environment or {}))


def locked(names: tuple[str, ...]) -> str:
    """Return the lines of the lock for some requirements: versions, markers and hashes."""
    lines, found, keep = (ROOT / ".requirements.lock").read_text().splitlines(), [], False
    for line in lines:
        if not line.startswith((" ", "#")):
            keep = line.partition("==")[0] in names
        if keep:
            found.append(line)
    return "\n".join([*found, ""])


def resources(stage: str, arch: str, runtime: str, *, tokens: bool) -> dict[str, Any]:
    """Return what is merged into chalice's template: stores, API, alarms, jobs and their state machine."""
    from chalice.package import TemplateDeepMerger, YAMLTemplateSerializer

    parts = [
        YAMLTemplateSerializer().load_template((APP / name).read_text()) for name in ("resources.yaml", "jobs.yaml")
    ]
    template: dict[str, Any] = TemplateDeepMerger().merge(*parts)
    for name, value in (("Stage", stage), ("Architecture", arch), ("Runtime", runtime)):
        template["Parameters"][name]["Default"] = value
    if tokens:
        variables = template["Resources"]["APIHandler"]["Properties"]["Environment"]["Variables"]
        for name, variable in TOKEN_SETTINGS.items():
            template["Parameters"][name] = {"Type": "String", "Description": f"{variable} of the API"}
            variables[variable] = {"Ref": name}
    machine = json.loads((ROOT / "batch_jobs" / "state_machine.json").read_text())
    template["Resources"]["Nightly"]["Properties"]["DefinitionString"] = json.dumps(machine, separators=(",", ":"))
    return template


def preflights(template: dict[str, Any]) -> None:
    """Let OPTIONS through on every path: a browser asks by it before it sends a key, and the app answers."""
    for methods in template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]["paths"].values():
        methods["options"] = next(iter(methods.values()))


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command quietly; what it said comes out when it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    if done.returncode:
        what = " ".join(Path(one).name for one in command[:4])
        raise StorageError(f"{what} failed:\n{(done.stdout + done.stderr).strip()[-4000:]}")


def package(stage: str, arch: str, python: str, runtime: str, *, tokens: bool) -> Path:
    """Make the zip and the template, check both, and return their folder."""
    made = ROOT / "build" / "package"
    bundle, output = Bundle(made / arch, stage, arch, python, runtime, tokens=tokens), made / stage
    bundle.install(bundle.wheel())
    bundle.lay_out()
    bundle.compile()
    bundle.write(output)
    check(output / "deployment.zip", arch, runtime)
    if PROCESSORS[arch] == platform.machine() and (found := import_faults(output / "deployment.zip", python)):
        raise DataError("; ".join(found))
    return output


def main() -> int:
    """Package, or say in one line why not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", default="dev", choices=("dev", "prod"))
    parser.add_argument("--arch", default="x86_64", choices=PROCESSORS)
    parser.add_argument("--runtime", help="interpreter of Lambda's runtime: a name on the path, or a path")
    parser.add_argument("--tokens", action="store_true", help="with what reads tokens of an identity provider")
    options = parser.parse_args()
    try:
        output = package(options.stage, options.arch, *interpreter(options.runtime), tokens=options.tokens)
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 5
    print(f"{output}/sam.json deploys it: make deploy STAGE={options.stage} ARCH={options.arch}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
