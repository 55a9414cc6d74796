"""What a GPU shows within a time: ``python results/gpu_evidence.py minutes=240``, or ``make gpu-evidence``.

In this order: the tests that need a GPU, the speed table, CIFAR-10 against every kind of noise and CLIP on pairs at the
papers' size, first with one seed and a few rows, so that small tables are complete early, then with three seeds and all
rows. Records are written as they come, into the folder ``out``, and the same command goes on where it stopped. A step
that fails does not stop the next. ``out/summary.md`` says how each ended and holds the tables; the exit status is 1 if
one failed. ``device=cpu profile=smoke`` tries all of it in small, without a GPU.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ue_bench.errors import UEBenchError, unknown
from ue_bench.provenance import commit, find_device
from ue_bench.words import read_number, read_words

TOP = Path(__file__).resolve().parents[1]
WORDS = {"minutes": "", "device": "cuda", "profile": "paper", "out": "gpu_evidence"}
USAGE = "python results/gpu_evidence.py minutes=240 [device=cuda profile=paper out=DIR]"
PROFILES = ("paper", "laptop", "quick", "smoke")
LEAST = 30  # seconds that must be left for a step to begin
MARGIN = 60  # seconds from when a run should end by itself to when it is ended
IMAGES = "[synper,ar,{em: {granularity: class}},{em: {granularity: image}},tap,{t2ue: {granularity: class}}]"
PAIRS = (
    "[{em: {granularity: pair}},{mem: {granularity: pair, trigger_length: 3}},"
    "{mem: {granularity: pair, trigger_length: 3, publish_trigger: false}},{t2ue: {granularity: pair}}]"
)
UE_BENCH = [sys.executable, "-c", "from ue_bench.cli import main; main()"]


@dataclass(frozen=True)
class Step:
    """A command. ``once``: at this commit it is not repeated after it has ended well; else it goes on by itself."""

    name: str
    command: list[str]
    once: bool = False


def steps(device: str, profile: str, store: Path) -> list[Step]:
    """All steps, in their order."""
    marked = [str(path) for path in sorted(TOP.glob("tests/*/test_*.py")) if "mark.cuda" in path.read_text()]
    found = [Step("tests", [sys.executable, "-m", "pytest", "-q", "-m", "cuda", *marked], once=True)]
    if " bench " in _told(["--help"]):
        found.append(Step("speed", [*UE_BENCH, "bench", f"device={device}"], once=True))
    run = [*UE_BENCH, "run", f"profile={profile}", f"device={device}", f"store={store}"]
    images = [*run, "suite=supervised", *(["dataset=cifar10"] if profile == "paper" else [])]
    pairs = [*run, "suite=clip_retrieval"]
    small = [("images", [*images, f"method={IMAGES}"]), ("pairs", [*pairs, f"method={PAIRS}"])]
    found += [Step(f"{name}, one seed", [*command, "seeds=1"]) for name, command in small]
    if profile == "paper":
        found += [Step(f"{name}, three seeds", [*command, "seeds=3"]) for name, command in small]
        found += [Step("images, all rows", images), Step("pairs, all rows", pairs)]
    return found


def carry_out(step: Step, out: Path, end: float) -> str:
    """Runs a step until ``end``, by ``time.monotonic``; returns how it ended, in words that begin with failed if so."""
    log, mark, seconds = out / f"{step.name}.log", out / f"{step.name}.done", end - time.monotonic()
    if step.once and mark.exists() and mark.read_text() == str(commit()):
        return "done before, at this commit"
    if seconds < LEAST:
        return "not begun: no time left"
    command = list(step.command)
    if not step.once:
        command.append(f"stop_after={max(1, round(seconds - MARGIN))}s")
    begun = time.monotonic()
    with log.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(command, cwd=TOP, stdout=written, stderr=subprocess.STDOUT)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"ended after {seconds / 60:.0f} minutes: time is up, it goes on when called again"
        finally:
            _end(process)
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    last, unfinished, _ = (lines[-1] if lines else "it printed nothing").strip().partition(" To continue:")
    told = f"{(time.monotonic() - begun) / 60:.1f} minutes; {last}"
    if status:
        return f"failed with status {status}, {told}"
    if step.once:
        mark.write_text(str(commit()))
    return f"{'not complete' if unfinished else 'done'}, {told}"


def _end(process: subprocess.Popen) -> None:
    """Ends a process that is still there; a run gives its claims up first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def summary(ended: dict[str, str], out: Path, store: Path) -> str:
    """Markdown: the machine, how each step ended, and the tables."""
    rows = [f"| {name} | {how.replace('|', '/')} |" for name, how in ended.items()]
    table = "\n".join(["| step | how it ended |", "| --- | --- |", *rows])
    parts = ["# What this GPU shows", _told(["env"], fenced=True), table]
    speed = out / "speed.log"
    if (out / "speed.done").exists() and speed.exists():
        parts += ["## Speed", speed.read_text(encoding="utf-8").strip()]
    for suite in ("supervised", "clip_retrieval"):
        shown = _told(["report", f"suite={suite}", f"store={store}", "--format", "markdown"])
        parts.append(shown or f"No table of {suite} yet.")
    return "\n\n".join(parts) + "\n"


def _told(words: list[str], fenced: bool = False) -> str:
    done = subprocess.run([*UE_BENCH, *words], cwd=TOP, capture_output=True, text=True)
    text = done.stdout.strip() if not done.returncode else ""
    return f"```\n{text}\n```" if fenced and text else text


def main(words: list[str]) -> int:
    """0 if nothing failed, 1 if a step did, 2 for a mistake in the words."""
    begun = time.monotonic()
    try:
        given = read_words(words, WORDS, ("minutes",), USAGE)
        end = begun + 60 * read_number(given, "minutes")
        find_device(given["device"])
        if given["profile"] not in PROFILES:
            raise unknown("profile", given["profile"], PROFILES)
    except UEBenchError as error:
        print(f"{error}\n{USAGE}", file=sys.stderr)
        return 2
    out = Path(given["out"]).expanduser().absolute()
    out.mkdir(parents=True, exist_ok=True)
    ended: dict[str, str] = {}
    try:
        for step in steps(given["device"], given["profile"], out / "store"):
            ended[step.name] = carry_out(step, out, end)
            print(f"{step.name}: {ended[step.name]}", flush=True)
    finally:
        (out / "summary.md").write_text(summary(ended, out, out / "store"), encoding="utf-8")
    print(f"summary: {out / 'summary.md'}")
    return int(any(how.startswith("failed") for how in ended.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
