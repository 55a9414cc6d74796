"""How a table was made: command, device, versions, seeds, commit, warnings, cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ue_bench.canonical import dumps
from ue_bench.progress import duration
from ue_bench.report.bill import check_in_words
from ue_bench.report.cost import check_forecast
from ue_bench.report.tables import Report

Line = tuple[str, str]
_COLUMNS = (
    "prepare s, protect s: mean per piece of work, done once and shared; train s: mean per trial; "
    "peak GB: the highest, 10^9 bytes, of the accelerator (on a CPU: of the process)"
)
# Fields of a recipe that are always shown. The others are shown where the recipes of one table differ in them.
_ALWAYS = ("epochs", "batch_size", "optimizer", "learning_rate", "crop_padding", "flip")


def footer(report: Report) -> list[Line]:
    """The (label, text) lines of the footer, the same in every format."""
    plan, records = report.plan, report.records
    lines = [
        ("command", str(plan.get("command") or "unknown")),
        ("suite", _suite(plan)),
        ("numbers", _numbers(report)),
        ("columns", _COLUMNS),
        ("trials", _states(report)),
        ("datasets", _datasets(plan)),
        ("image size", _image_sizes(records)),
    ]
    lines += [("recipe", text) for text in _recipes(records)]
    lines += [
        ("device", _devices(records)),
        ("versions", _versions(records)),
        ("commit", _commits(records)),
        ("measured", _dates(records)),
        ("cost", wall_cost(report.totals)),
        ("device cost", device_cost(report.totals)),
        ("forecast", _forecast(report)),
    ]
    lines += [("warning", text) for text in _counted(w for r in records for w in r.get("warnings") or [])]
    lines += [("skipped", f"{item.get('what')}: {item.get('reason')}") for item in plan.get("skipped") or []]
    return [(label, text) for label, text in lines if text]


def wall_cost(totals: Mapping[str, Any]) -> str:
    """Wall-clock time by phase."""
    phases = {phase: sums["wall_seconds"] for phase, sums in totals["phases"].items()}
    if not any(phases.values()):
        return ""
    parts = ", ".join(f"{phase} {duration(value, 1)}" for phase, value in phases.items() if value)
    return f"{duration(totals['wall_seconds'], 1)} ({parts}); shared noise and preparations counted once"


def device_cost(totals: Mapping[str, Any]) -> str:
    """Core-seconds of CPUs and GPU-hours of accelerators by phase."""
    texts = []
    if totals["core_seconds"]:
        parts = [f"{p} {s['core_seconds']:.1f}" for p, s in totals["phases"].items() if s["core_seconds"]]
        texts.append(f"{totals['core_seconds']:.1f} core-seconds ({', '.join(parts)})")
    if totals["gpu_hours"]:
        held = {p: s["accelerator_seconds"] / 3600 for p, s in totals["phases"].items()}
        parts = [f"{phase} {hours:.4g}" for phase, hours in held.items() if hours]
        texts.append(f"{totals['gpu_hours']:.4g} GPU-hours ({', '.join(parts)})")
    return "; ".join(texts)


def _forecast(report: Report) -> str:
    check = check_forecast(report.plan, report.records)
    return check_in_words(check) if check else ""


def _suite(plan: Mapping[str, Any]) -> str:
    parts = [str(plan.get("suite") or ""), f"profile {plan.get('profile') or 'unknown'}"]
    if plan.get("source"):
        parts.append(f"after {plan['source']}")
    return ", ".join(parts)


def _numbers(report: Report) -> str:
    seeds = list(dict.fromkeys(finding.trial.get("seed") for finding in report.findings))
    spread = "mean ± sample standard deviation over seeds" if len(seeds) > 1 else "one run, seed"
    named = ", ".join(str(seed) for seed in seeds)
    measured = ", ".join(f"{view.measure.label}: {view.measure.direction}" for view in report.measured)
    return f"{measured}; best in bold; {spread} {named}" if seeds else ""


def _states(report: Report) -> str:
    states = Counter("invalid" if o.undertrained else o.state for o in report.findings)
    order = ["done", "failed", "invalid", "missing", *states]
    return ", ".join(f"{states[state]} {state}" for state in dict.fromkeys(order) if states[state])


def _datasets(plan: Mapping[str, Any]) -> str:
    labels: dict[str, None] = {}
    for trial in plan.get("trials") or []:
        name, label = str(trial.get("dataset", "")), str(trial.get("dataset_label") or "")
        labels[f"{name} is {label}" if label and not label.startswith(name) else label or name] = None
    return "; ".join(labels)


def _image_sizes(records: Iterable[Mapping[str, Any]]) -> str:
    sizes = dict.fromkeys(r["config"].get("image_size") for r in records if r.get("config"))
    return " and ".join("as stored" if size is None else f"{size} pixels" for size in sizes)


def _recipes(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line for each recipe, with the names of the victims that were trained with it."""
    recipes: dict[str, Mapping[str, Any]] = {}
    victims: dict[str, dict[str, None]] = {}
    keys: dict[int, str] = {}  # of a recipe that many records share
    for config in (record["config"] for record in records if (record.get("config") or {}).get("recipe")):
        recipe = config["recipe"]
        key = keys[id(recipe)] = keys.get(id(recipe)) or dumps(recipe)
        recipes[key] = recipe
        victims.setdefault(key, {})[str((config.get("victim") or {}).get("name", "unknown"))] = None
    fields = dict.fromkeys(name for recipe in recipes.values() for name in recipe if name not in _ALWAYS)
    varying = [name for name in fields if len({dumps(r.get(name)) for r in recipes.values()}) > 1]
    lines = []
    for key, recipe in recipes.items():
        words = _in_words(recipe) + [f"{name} {recipe.get(name)}" for name in varying]
        lines.append(f"{', '.join(words)}: {', '.join(victims[key])}")
    return lines


def _in_words(recipe: Mapping[str, Any]) -> list[str]:
    """A recipe in words. A contrastive recipe names no optimizer (it is AdamW), no crops and no flips."""
    epochs, padding = recipe.get("epochs"), recipe.get("crop_padding")
    return [
        f"{epochs} epoch" if epochs == 1 else f"{epochs} epochs",
        f"batches of {recipe.get('batch_size')}",
        f"{recipe.get('optimizer') or 'adamw'} with learning rate {recipe.get('learning_rate')}",
        f"crops with a padding of {padding} pixels" if padding else "no crops",
        "flips" if recipe.get("flip") else "no flips",
    ]


def _devices(records: Iterable[Mapping[str, Any]]) -> str:
    texts = list(dict.fromkeys(_device(record) for record in records if record.get("device")))
    mixed = "; MIXED DEVICES: compare no costs across rows" if len(texts) > 1 else ""
    return "; ".join(texts) + mixed


def _device(record: Mapping[str, Any]) -> str:
    device, config = record["device"], record.get("config") or {}
    kind, name, threads = (device.get(key) for key in ("type", "name", "threads"))
    text = f"{kind} {name}" if name and name != kind else str(kind)
    if threads and kind == "cpu":
        text += f", {threads} threads" if threads > 1 else ", one thread"
    words = {"cpu_bf16": ", in bf16", "cuda_graphs": ", with CUDA graphs"}
    return text + "".join(word for name, word in words.items() if config.get(name))


def _versions(records: Iterable[Mapping[str, Any]]) -> str:
    found: dict[str, dict[str, None]] = {}
    several = {id(versions): versions for record in records if (versions := record.get("versions"))}
    for versions in several.values():
        for name, version in versions.items():
            found.setdefault(name, {})[str(version)] = None
    mixed = " (MIXED)" if any(len(texts) > 1 for texts in found.values()) else ""
    return ", ".join(f"{name} {' and '.join(texts)}" for name, texts in found.items()) + mixed


def _commits(records: Iterable[Mapping[str, Any]]) -> str:
    commits = dict.fromkeys(record.get("commit") or "unknown" for record in records)
    return ", ".join(
        f"{commit.removesuffix('+')} with uncommitted changes" if commit.endswith("+") else commit
        for commit in commits
    )


def _dates(records: Iterable[Mapping[str, Any]]) -> str:
    days = sorted({str(record["created"])[:10] for record in records if record.get("created")})
    return " to ".join(dict.fromkeys(days[:1] + days[-1:]))


def _counted(texts: Iterable[str]) -> list[str]:
    return [text if n == 1 else f"{text} ({n} trials)" for text, n in Counter(texts).items()]
