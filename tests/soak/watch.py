"""Makes this process tell in the file ``FINISHED`` what it finishes."""

from __future__ import annotations

import os

from ue_bench.trials.store import Store

write_file, write_record = Store.write_file, Store.write_record


def tell(*words: object) -> None:
    """Adds a line, in one piece even if the process is killed."""
    line = os.open(os.environ["FINISHED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(line, (" ".join(map(str, words)) + "\n").encode())
    os.close(line)


def watched_file(self, parts, fill):
    """Tells of noise."""
    write_file(self, parts, fill)
    if parts[0] == "noise":
        tell("finished", "/".join(parts))


def watched_record(self, record):
    """Tells of a trial that did not fail."""
    write_record(self, record)
    if record["status"] != "failed":
        tell("finished", f"trials/{record['id']}.json")


Store.write_file, Store.write_record = watched_file, watched_record
