"""An erasure, and what it leaves to the jobs; and bugs of the latter that the sweep of kills must find."""

from contextlib import closing
from pathlib import Path

import pyarrow.compute
from erased import GONE, LISTED, QUIET, people_of

from batch_jobs.erase import LISTS, erase
from batch_jobs.log_files import LocalLogFiles
from batch_jobs.score_files import ListFolder
from batch_jobs.stores import Stores

# What a fork would have to load is loaded here.
assert pyarrow.compute, LISTED


def run(words):
    """Run ``ask``, the erasure itself, or ``finish``, in the current folder."""
    (job,) = words
    stores = Stores.from_environment()
    with closing(stores.online):
        if job == "ask":
            people_of(stores).erase("shop", GONE)
        else:
            erase(stores, "shop", LISTS, QUIET)
    return 0


def in_place(self, namespace, name, write):
    with Path(self.root, f"ns={namespace}", name).open("wb") as file:
        write(file)


def removed_first(self, number, tables):
    for path in self.path.glob(f"part-{number:05d}-*"):
        path.unlink()
    return add(self, number, tables)


add = ListFolder.add
PLANTED = {
    "log files in place": [(LocalLogFiles, "replace", in_place)],
    "lists removed first": [(ListFolder, "add", removed_first)],
}
