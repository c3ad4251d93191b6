"""A folder with the real commands and the real server over it."""

import json
import os
import subprocess
import sys
import time
from urllib.request import Request, urlopen


def pairs(answer):
    return [(one["item"], one["score"]) for one in answer["items"]]


class Shop:
    """A folder with published sample data, the command line and a running API."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("RECSYS_")}

    def recsys(self, *arguments, status=0):
        command = [sys.executable, "-m", "batch_jobs.cli", *arguments, "--json"]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout) if status == 0 else done.stderr

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.url + path, data, {"Content-Type": "application/json"}), timeout=10) as answer:
            return json.loads(answer.read())

    def wait_for(self, path, version):
        """Ask until a version answers."""
        for _ in range(100):
            answer = self.ask(path)
            if answer["model_version"] == version:
                return answer
            time.sleep(0.05)
        raise AssertionError(f"{version} is not taken into service")

    def __enter__(self):
        command = [sys.executable, "-m", "batch_jobs.cli", "serve", "--port", "0"]
        self.server = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        self.url = self.server.stdout.readline().split()[1]
        return self

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait(timeout=10)
        self.server.stdout.close()
