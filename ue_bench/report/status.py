"""How far the runs of a store are: done, claimed, failed, left, and what the rest is predicted to take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ue_bench.progress import duration


class Claimed(Protocol):
    """A claim."""

    @property
    def name(self) -> str:
        """Of the work."""

    def who(self) -> str:
        """Its owner in words."""


def tell_status(
    plan: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], claims: Iterable[Claimed]
) -> str:
    """The state of one plan, in lines.

    Args:
        plan: its header, as the store keeps it.
        records: of its trials, by id.
        claims: all of the store.
    """
    ids = [entry["id"] for entry in plan["trials"]]
    failed = [trial for trial in ids if trial in records and records[trial]["status"] == "failed"]
    missing = [trial for trial in ids if trial not in records]
    running = {claim.name.partition("-")[2]: claim.who() for claim in claims}
    busy = [trial for trial in [*failed, *missing] if trial in running]
    done = len(ids) - len(failed) - len(missing)
    name = f"{plan['suite']} ({plan['profile']})" if plan["profile"] else plan["suite"]
    lines = [
        f"{name}: {len(ids)} trials, {done} done, {len(busy)} being worked on, {len(failed)} failed, "
        f"{len(missing)} left{_takes(plan, [*failed, *missing])}"
    ]
    lines += [f"    {trial}: {records[trial]['error']['message']}" for trial in failed[:5]]
    return "\n".join(lines)


def tell_claims(claims: Iterable[Claimed]) -> list[str]:
    """Who works on what, a line each."""
    return [f"    {claim.name}: {claim.who()}" for claim in claims]


def _takes(plan: Mapping[str, Any], todo: list[str]) -> str:
    """What the trials to do were predicted to take when the run began, their noise left out."""
    known = (plan.get("forecast") or {}).get("trials") or {}
    told = [sum(spent[0] for spent in known[trial].values()) for trial in todo if trial in known]
    if not told:
        return ""
    least = "" if len(told) == len(todo) else "at least "
    return f", about {least}{duration(sum(told))} of training"
