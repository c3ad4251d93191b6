"""`recsys score`, and bugs of it that the sweep of kills must find."""

import os
from unittest import mock

from batch_jobs import cli, score, score_files
from recsys.serving import SQLiteOnlineStore

Folder = score_files.ListFolder
add, put_lists = Folder.add, SQLiteOnlineStore.put_lists


def run(words):
    """Run a command; its lists are several parts of several blocks."""
    with mock.patch.multiple(score, PART_ROWS=60, BLOCK_ROWS=25):
        return cli.run(words)


def in_place(self, name, data, place):
    (self.path / name).write_bytes(data)


def by_name_alone(self, path):
    data = path.read_bytes()
    return score_files.Part(path.name, 15, len(data), "")


def manifest_first(self, number, tables):
    self._write("_manifest.json", b"[]", os.replace)
    return add(self, number, tables)


def only_once(self, namespace, version, lists, **known):
    lists = list(lists)
    if not self.user_list(namespace, version, lists[0][0]):
        for one in lists:
            put_lists(self, namespace, version, [one], **known)


PLANTED = {
    "in place": [(Folder, "_write", in_place)],
    "by name alone": [(Folder, "_write", in_place), (Folder, "_checked", by_name_alone)],
    "manifest first": [(Folder, "add", manifest_first)],
    "into the store only once": [(SQLiteOnlineStore, "put_lists", only_once)],
}
