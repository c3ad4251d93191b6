"""What `make package` makes, and an account on loopback to deploy it into."""

import platform
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from clouds import account

from chalice_app import package as packaging
from chalice_app.deploy import Account, deploy
from recsys.errors import ConfigError

ROOT = Path(__file__).parents[2]
ARCH = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())
SETTINGS = {"RECSYS_ARTIFACTS": "ArtifactsUrl", "RECSYS_REGISTRY": "ModelsUrl"} | {
    "RECSYS_ONLINE": "OnlineUrl",
    "RECSYS_EVENTS": "EventLogUrl",
    "RECSYS_RUNS": "RunsUrl",
}


@pytest.fixture(scope="session")
def packaged(tmp_path_factory):
    """Zip and template of what `make package` installed, if it is what is here: to compile it takes minutes."""
    made = ROOT / "build" / "package" / str(ARCH)
    sources = [path for path in (ROOT / "recsys").rglob("*") if path.suffix in (".py", ".cpp", ".hpp")]
    wheels = list((made / "wheels").glob("*.whl"))
    if not wheels or wheels[0].stat().st_mtime < max(path.stat().st_mtime for path in sources):
        pytest.skip("nothing is packaged of what is here; make package does it")
    try:
        compiled = next((made / "site" / "numpy" / "_core").glob("_multiarray_umath.cpython-3*")).name
        python, runtime = packaging.interpreter(f"python3.{compiled.split('-')[1].removeprefix('3')}")
    except ConfigError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("package")
    bundle = packaging.Bundle(folder / "made", "dev", ARCH, python, runtime, tokens=False)
    shutil.copytree(made / "site", bundle.folder / "site")
    bundle.lay_out()
    bundle.compile()
    bundle.write(folder / "out")
    return SimpleNamespace(folder=folder / "out", zip=folder / "out" / "deployment.zip", python=python, runtime=runtime)


@pytest.fixture(scope="module")
def in_account(tmp_path_factory):
    """Deploy a package into an account of its own; the environment then names both."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as until:

        def enter(package, **given):
            folder = tmp_path_factory.mktemp("account")
            for name, value in until.enter_context(account(package.python, folder / "decisions")).items():
                patch.setenv(name, value)
            return Stack(package.folder, given, folder)

        yield enter


class Stack:
    """What was deployed: its outputs, the names of its resources, and settings that lead to its stores."""

    def __init__(self, package, given, folder):
        self.folder, account = folder, Account()
        self.outputs = deploy(account, "recsys-dev", package, given)
        found = account.stacks.describe_stack_resources(StackName="recsys-dev")["StackResources"]
        self.states = {one["ResourceStatus"] for one in found}
        self.names = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in found}
        self.settings = {name: self.outputs[output] for name, output in SETTINGS.items()}
        self.settings |= {"RECSYS_QUEUE": f"sqs://{self.outputs['QueueUrl'].rpartition('/')[2]}"}
        self.settings |= {"RECSYS_CACHE": str(folder / "cache")}
        for name in ("Artifacts", "EventLog"):  # they refuse whoever comes without TLS, which the stand-in has not
            account.s3.delete_bucket_policy(Bucket=self.names[name])
