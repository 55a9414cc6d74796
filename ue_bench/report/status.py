"""The state of a store's runs: what is done, claimed, failed and left, and how long the rest is predicted to take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ue_bench.progress import duration


class Claimed(Protocol):
    """What is shown of a claim."""

    @property
    def name(self) -> str:
        """The name of the work."""

    def who(self) -> str:
        """Its owner in words."""


def tell_status(
    plan: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], claims: Iterable[Claimed]
) -> str:
    """The state of one plan, in lines.

    Args:
        plan: the plan's header, as the store keeps it.
        records: records of its trials, by id.
        claims: all claims in the store.
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
    """Who works on what, one line per claim."""
    return [f"    {claim.name}: {claim.who()}" for claim in claims]


def _takes(plan: Mapping[str, Any], todo: list[str]) -> str:
    """How long the trials to do were predicted to take when the run began, without their noise."""
    known = (plan.get("forecast") or {}).get("trials") or {}
    told = [sum(spent[0] for spent in known[trial].values()) for trial in todo if trial in known]
    if not told:
        return ""
    least = "" if len(told) == len(todo) else "at least "
    return f", about {least}{duration(sum(told))} of training"
