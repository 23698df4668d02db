"""What came of a soak: figures for a reader, and whether it holds."""

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.soak.ledger import Call
from tests.soak.machine import MIB, Held
from tests.soak.run import Soak

WARM_UP = 0.15
"""Part of the time that memory has to settle, once no daemon is killed any more."""

MOST_GROWTH = 0.10
MOST_GROWTH_BYTES = 6 * MIB
MOST_FILES = 32
SHOWN = 30


@dataclass(frozen=True, slots=True)
class Growth:
    """What one daemon held at the beginning and at the end of the time it was watched."""

    name: str
    seconds: float
    first: Held
    last: Held

    @property
    def is_flat(self) -> bool:
        more = self.last.rss - self.first.rss
        return (
            more <= self.first.rss * MOST_GROWTH + MOST_GROWTH_BYTES
            and self.last.files <= self.first.files * (1 + MOST_GROWTH) + MOST_FILES
        )

    def __str__(self) -> str:
        first, last = self.first, self.last
        rate = (last.rss - first.rss) / MIB / (self.seconds / 60)
        return (
            f"{self.name}: {first.rss / MIB:.1f} to {last.rss / MIB:.1f} MiB "
            f"({rate:+.2f} a minute), {first.files} to {last.files} open files, "
            f"over {self.seconds:.0f} s"
        )


def judge(soak: Soak) -> None:
    """Add to the violations what only shows at the end."""
    ledger = soak.ledger
    for call in ledger.lost():
        if not ledger.why(call):
            ledger.violate(f"lost for no reason: {call.shown(ledger.began)}")
    for call in ledger.calls.values():
        if call.how == "answer" and call.seen < call.steps and not ledger.why(call):
            ledger.violate(f"{call.seen} of {call.steps} steps: {call.shown(ledger.began)}")
    for growth in growths(soak):
        if not growth.is_flat:
            ledger.violate(f"memory is not flat: {growth}")


def growths(soak: Soak) -> Iterator[Growth]:
    warm = soak.watched_from + soak.size.seconds * WARM_UP
    for name, samples in soak.memory.items():
        found = [one for one in samples if one.at >= warm]
        third = len(found) // 3
        if third >= 3:
            seconds = found[-1].at - found[0].at
            yield Growth(name, seconds * 2 / 3, middle(found[:third]), middle(found[-third:]))


def middle(samples: list[Held]) -> Held:
    return Held(
        statistics.median(one.at for one in samples),
        int(statistics.median(one.rss for one in samples)),
        int(statistics.median(one.files for one in samples)),
    )


def page(soak: Soak) -> str:
    """Return all of it, as text."""
    ledger, size = soak.ledger, soak.size
    amounts = f"{size.servers} servers, {size.clients} clients"
    lines = [
        f"soak of {size.seconds / 60:.1f} minutes, seed {soak.seed}: {amounts}",
        "",
        *calls(soak),
        "",
        "lost calls, by what they can be laid to:",
        *(f"  {many:6} {what}" for what, many in lost(soak).most_common()),
        "",
        "done to it:",
        *(f"  {many:6} {what}" for what, many in sorted(ledger.done.items())),
        "",
        "memory, while no daemon was killed:",
        *(f"  {growth}" for growth in growths(soak)),
        "",
    ]
    if ledger.violations:
        lines += [f"{len(ledger.violations)} VIOLATIONS; the evidence is in {soak.folder}"]
        lines += [f"  {one}" for one in ledger.violations[:SHOWN]]
        lines += [f"again: python -m tests.soak --minutes {size.seconds / 60:g} --seed {soak.seed}"]
    else:
        lines += ["no crossed reply, no hang, no orphan, each lost call told once, memory flat"]
    return "\n".join(lines)


def calls(soak: Soak) -> Iterator[str]:
    found = [one for one in soak.ledger.calls.values() if one.method == "tools/call"]
    ends = Counter(one.how for one in found)
    yield f"calls: {len(found)}, {len(found) / soak.size.seconds:.0f} a second"
    for how, many in ends.most_common():
        yield f"  {many:6} {how}"
    times = sorted(took(one) for one in found if one.how == "answer")
    if times:
        p50, p99 = times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000
        yield f"answers: p50 {p50:.1f} ms, p99 {p99:.0f} ms, longest {times[-1]:.1f} s"
    errors = [one for one in found if one.how == "error"]
    if errors:
        yield f"errors: longest after {max(map(took, errors)):.1f} s"


def answered(soak: Soak) -> int:
    return sum(one.how == "answer" for one in soak.ledger.calls.values())


def took(call: Call) -> float:
    return call.ended - call.began


def lost(soak: Soak) -> Counter[str]:
    found: Counter[str] = Counter()
    for call in soak.ledger.lost():
        why = soak.ledger.why(call) or "NOTHING"
        told = f"{call.code} {call.outcome}".strip() if call.how == "error" else "its connection"
        found[f"{why}, told by {told}, {call.who.era}"] += 1
    return found
