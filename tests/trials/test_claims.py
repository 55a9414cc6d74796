"""Who works on what: one claim a piece of work, dead ones are taken over, rubbish does no harm."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ue_bench.errors import StoreError
from ue_bench.trials.claims import Busy, Claim, Claims, _copy_exclusively, when_free
from ue_bench.trials.identity import is_gone, mark, place
from ue_bench.trials.leftovers import remove_leftovers
from ue_bench.trials.store import Store


def write(folder, name="noise-a", silent=0.0, **said):
    """A claim as another process would have left it."""
    told = {
        "owner": "other",
        "task": name,
        "process": "elsewhere-1-1",
        "host": "h",
        "since": "s",
        "token": "t",
        **said,
    }
    path = folder / f"{name}.claim"
    path.write_text(json.dumps(told))
    os.utime(path, (time.time() - silent, time.time() - silent))
    return path


def test_one_at_a_time_and_once_more_by_the_same(tmp_path):
    one, two = Claims(tmp_path), Claims(tmp_path)
    with one.held("noise-a"):
        with one.held("noise-a"), pytest.raises(Busy, match=f"process {os.getpid()} on "):
            two._take("noise-a")
        with two.held("noise-b"):
            assert [claim.name for claim in one.all()] == ["noise-a", "noise-b"]
        assert one.holds("noise-a") and not two.holds("noise-a")
    with two.held("noise-a"):
        assert not one.holds("noise-a")
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_who_works_alone_waits_until_the_other_has_ended(tmp_path):
    """As ``ue-bench noise`` and ``protect`` do, which have no other work meanwhile."""
    path, said, tries = write(tmp_path), [], []

    def work():
        tries.append(1)
        if len(tries) == 3:
            path.unlink()
        with Claims(tmp_path).held("noise-a"):
            return "made"

    assert when_free(work, said.append, pause=0.0) == "made" and len(tries) == 3
    assert len(said) == 1 and "noise-a is being worked on by" in said[0]


def test_the_claim_of_an_ended_process_is_dead_at_once(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "from ue_bench.trials.identity import mark; print(mark())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert is_gone(ended) and is_gone(mark()) is False and is_gone("elsewhere-1-1") is None
    assert is_gone(f"{place()}-{os.getpid()}-1"), "another process had this number before"
    write(tmp_path, process=ended)
    write(tmp_path, "noise-b", process=ended)
    with Claims(tmp_path).held("noise-a"):
        pass
    Claims(tmp_path).remove_dead()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("silent", "taken"), [(50, False), (70, True)])
def test_elsewhere_it_is_dead_after_its_lease_by_the_clock_of_the_folder(
    tmp_path, silent, taken, monkeypatch
):
    write(tmp_path, silent=silent)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's clock may say anything
    claims = Claims(tmp_path, lease=60)
    if taken:
        with claims.held("noise-a"):
            assert claims.holds("noise-a")
    else:
        with pytest.raises(Busy), claims.held("noise-a"):
            pass


def test_it_is_touched_while_it_is_held(tmp_path):
    claims = Claims(tmp_path, lease=0.2)
    with claims.held("noise-a"):
        os.utime(tmp_path / "noise-a.claim", (0, 0))
        end = time.monotonic() + 20
        while (tmp_path / "noise-a.claim").stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.parametrize("rubbish", [b"", b"\xff\x00", b"[1]", b'{"owner": "x"}', b"[" * 10_000])
def test_rubbish_is_named_and_dead_after_its_lease(tmp_path, rubbish):
    path = tmp_path / "noise-a.claim"
    path.write_bytes(rubbish)
    with (
        pytest.raises(Busy, match="an unknown owner, because the file is not a claim"),
        Claims(tmp_path).held("noise-a"),
    ):
        pass
    os.utime(path, (0, 0))
    with Claims(tmp_path).held("noise-a"):
        pass


def test_who_was_taken_for_dead_holds_nothing_and_removes_nothing_of_others(tmp_path):
    one, two = Claims(tmp_path, "one", lease=60), Claims(tmp_path, "two")
    with one.held("noise-a"):
        (tmp_path / "noise-a.claim").unlink()
        with two.held("noise-a"):
            assert not one.holds("noise-a")
            one.release("noise-a")
            assert two.holds("noise-a")


def test_a_dead_claim_that_was_taken_over_meanwhile_is_put_back(tmp_path):
    write(tmp_path, silent=1e6)
    claims = Claims(tmp_path)
    dead = claims.read("noise-a")
    (tmp_path / "noise-a.claim").unlink()
    with Claims(tmp_path, "quicker").held("noise-a"):
        claims._bury(dead)
        assert claims.read("noise-a").owner == "quicker"


def test_a_lost_task_frees_what_it_claimed_in_any_process(tmp_path):
    write(tmp_path, "prepared-x", owner="run", task="noise-a")
    write(tmp_path, "noise-b", owner="run")
    write(tmp_path, "noise-a", owner="others")
    claims = Claims(tmp_path, "run")
    claims.release_task("noise-a")
    assert [claim.name for claim in claims.all()] == ["noise-a", "noise-b"]
    claims.release_task()
    assert [claim.name for claim in claims.all()] == ["noise-a"]


def test_without_hard_links(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    with Claims(tmp_path).held("noise-a"), pytest.raises(Busy), Claims(tmp_path).held("noise-a"):
        pass
    assert not list(tmp_path.iterdir())
    (tmp_path / "x").write_text("x")
    assert _copy_exclusively(tmp_path / "x", tmp_path / "y") and not _copy_exclusively(
        tmp_path / "x", tmp_path / "y"
    )


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "claims").write_text("a file")
    with pytest.raises(StoreError, match="cannot claim work"), Claims(tmp_path / "claims").held("noise-a"):
        pass


def test_what_killed_processes_left_behind_is_removed(tmp_path):
    gone, lives = f"{place()}-{os.getpid()}-1", mark()
    (tmp_path / "noise").mkdir()
    for name in (f"a.safetensors.{gone}.0a.tmp", f"b.safetensors.{lives}.0b.tmp", "c.safetensors.0c.tmp"):
        (tmp_path / "noise" / name).touch()
    remove_leftovers(Store(tmp_path))
    assert len(list((tmp_path / "noise").iterdir())) == 2, (
        "who still writes goes on, and strangers have a day"
    )


def ended_process() -> str:
    """The mark of a process that has ended: another one has its number now."""
    return f"{place()}-{os.getpid()}-1"


def test_dead_claims_in_a_folder_that_became_read_only_stay_and_end_no_run(tmp_path, monkeypatch):
    write(tmp_path, process=ended_process())

    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("rename", "link", "unlink"):
        monkeypatch.setattr(os, name, read_only)
    Claims(tmp_path).remove_dead()
    with pytest.raises(StoreError, match="Read-only file system"), Claims(tmp_path).held("noise-a"):
        pass
    assert (tmp_path / "noise-a.claim").exists()


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_claim_that_cannot_be_finished_leaves_no_file(tmp_path, monkeypatch, fault):
    """A full disk takes the name of a file and none of its content; SIGTERM comes at any moment."""
    write(tmp_path, process=ended_process())
    real = Path.write_text

    def half(path, text):
        real(path, text[:9])
        raise fault

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises((StoreError, KeyboardInterrupt)), Claims(tmp_path).held("noise-a"):
        pass
    monkeypatch.setattr(Path, "write_text", real)

    def interrupted(*_):
        raise fault

    monkeypatch.setattr(Claims, "_read", interrupted)
    with pytest.raises((OSError, KeyboardInterrupt)):
        Claims(tmp_path)._bury(Claim("noise-a"))
    assert not list(tmp_path.glob("*.tmp"))
