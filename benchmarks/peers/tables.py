"""From the stored figures to the tables: medians over the rounds. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from measuring import Table, median, number

AT_LEAST_ONCE = "at least once"


def make_tables(data: dict[str, Any]) -> dict[str, Table]:
    """Make those tables for which there are figures."""
    made: dict[str, Table] = {}
    for name, (make, needs) in _MAKERS.items():
        if data["scenarios"].keys() >= needs:
            made[name] = make(data["sides"], {need: data["scenarios"][need]["figures"] for need in needs})
    return made


def _summary(sides: dict[str, Any], found: dict[str, Any]) -> Table:
    """The aims, and what became of them; ours on asyncio beside the best of those that give the same guarantee."""
    peers = [name for name, side in sides.items() if not side["ours"] and side["delivery"] == AT_LEAST_ONCE]
    [ours] = [name for name in sides if name.endswith("asyncio")]
    figures = {name: {key: _medians(rows) for key, rows in each.items()} for name, each in found["rounds"]["found"].items()}
    table = Table("Ours and the best of the peers", ["", "nursery-tasks, asyncio", "best peer", "ratio"])

    def row(what: str, mine: float, theirs: dict[str, float], show: str, *, low: bool = False) -> None:
        best = (min if low else max)(theirs, key=lambda name: theirs[name])
        ratio = theirs[best] / mine if low else mine / theirs[best]
        table.rows.append([what, _show(mine, show), f"{_show(theirs[best], show)} ({best})", f"{ratio:.1f} x"])

    def compare(what: str, key: str, place: int, unit: str = "", *, low: bool = False) -> None:
        row(what, figures[ours][key][place], {name: figures[name][key][place] for name in peers}, unit, low=low)

    compare("one worker, jobs/s", "one", 0)
    compare("two workers, jobs/s", "two", 0)
    compare("CPU per job", "one", 1, "us", low=True)
    compare("submitted in bulk, jobs/s", "bulk", 0)
    compare("submitted one by one, jobs/s", "singles", 0)
    compare("round trip at rest, median", "rest", 0, "ms", low=True)
    compare("round trip at rest, p99", "rest", 1, "ms", low=True)
    compare("round trips of eight callers, jobs/s", "load", 2)
    return table


def _throughput(sides: dict[str, Any], found: dict[str, Any]) -> Table:
    table = Table("Jobs that do nothing", ["worker", "one worker, jobs/s", "two, jobs/s", "CPU per job", "two: CPU per job"])
    for name, each in found["rounds"]["found"].items():
        if "one" in each:
            one, two = _medians(each["one"]), _medians(each["two"])
            table.rows.append([name, number(one[0]), number(two[0]), _show(one[1], "us"), _show(two[1], "us")])
    return table


def _submitting(sides: dict[str, Any], found: dict[str, Any]) -> Table:
    table = Table("Submitting", ["program", "one by one, jobs/s", "median", "in bulk, jobs/s"])
    for name, each in found["rounds"]["found"].items():
        if "singles" in each:
            (rate, one), [many] = _medians(each["singles"]), _medians(each["bulk"])
            table.rows.append([name, number(rate), _show(one, "us"), number(many)])
    return table


def _round_trip(sides: dict[str, Any], found: dict[str, Any]) -> Table:
    table = Table("Round trip", ["both sides", "at rest: median", "p99", "8 callers: median", "p99", "jobs/s"])
    for name, each in found["rounds"]["found"].items():
        rest, load = _medians(each["rest"]), _medians(each["load"])
        table.rows.append([name, *(_show(value, "ms") for value in (*rest, *load[:2])), number(load[2])])
    return table


def _idle(sides: dict[str, Any], found: dict[str, Any]) -> Table:
    table = Table("A worker at rest", ["worker", "CPU", "commands/s", "memory", "after its jobs", "start to first job"])
    for name, rows in found["idle"]["percent of a core, commands/s, MiB"].items():
        share, commands, memory = _medians(rows)
        each = found["rounds"]["found"].get(name, {})
        used = f"{_medians(each['one'])[2]:.0f} MiB" if "one" in each else ""
        began = f"{number(_medians(each['start'])[0])} ms" if "start" in each else ""
        table.rows.append([name, f"{share:.2f} %", f"{commands:.1f}", f"{memory:.0f} MiB", used, began])
    return table


def _settings(sides: dict[str, Any], found: dict[str, Any]) -> Table:
    again = found["crash"]["killed, ran again after s"]
    heads = ["contender", "delivery", "a job whose worker was killed", "known from", "settings"]
    table = Table("Who they are", heads, words=True)
    for name, side in sides.items():
        if name in again:
            after = "did not run again" if again[name] is None else "ran again"
            version = side["version"] or name
            table.rows.append([version, side["delivery"], after, side["known_from"], side["settings"]])
    return table


def _raw(sides: dict[str, Any], found: dict[str, Any]) -> Table:
    table = Table("The limit of server and driver", ["what", "jobs/s", "CPU per job", "the server's"])
    words = {
        "stream": "a stream by hand: XREADGROUP, SET, XACK, XDEL",
        "scripts": "our scripts: claim, settle",
    }
    for part, rows in found["raw"]["jobs/s, CPU us per job, the server's CPU us per job"].items():
        rate, cpu, server = _medians(rows)
        table.rows.append([words[part], number(rate), _show(cpu, "us"), _show(server, "us")])
    for name, each in found["rounds"]["found"].items():
        if name in sides and sides[name]["ours"]:
            rate, cpu, _ = _medians(each["one"])
            table.rows.append([f"the whole worker, {name.rpartition(' ')[2]}", number(rate), _show(cpu, "us"), ""])
    return table


def _steps(sides: dict[str, Any], found: dict[str, Any]) -> Table:
    heads = ["worker", "event loop", "claim", "settle", "rest", "all", "jobs per claim", "jobs per settle", "the server"]
    table = Table("CPU time per job", heads)
    [rounds] = found["steps"].values()
    for name, rows in rounds.items():
        loop, claim, settle, process, per_claim, per_settle, server = _medians(rows)
        seconds = [f"{value * 1e6:.1f} us" for value in (loop, claim, settle, process - loop - claim - settle, process)]
        table.rows.append([name, *seconds, f"{per_claim:.0f}", f"{per_settle:.0f}", f"{server * 1e6:.1f} us"])
    return table


def _legs(sides: dict[str, Any], found: dict[str, Any]) -> Table:
    [rounds] = found["legs"].values()
    middle = {leg: median([each[leg] for each in rounds]) for leg in rounds[0]}
    table = Table("The legs of a round trip", ["leg", "median"])
    table.rows += [[leg, f"{value / 1e3:.2f} ms"] for leg, value in middle.items()]
    at_server = sum(value for leg, value in middle.items() if leg.startswith("the server"))
    total = sum(middle.values())
    table.rows.append(["together", f"{total / 1e3:.2f} ms, {at_server / total * 100:.0f} % of it with the server"])
    return table


def _medians(rows: Sequence[Sequence[float]]) -> list[float]:
    return [median(values) for values in zip(*rows, strict=True)]


def _show(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{value:.2f} ms"
    return f"{number(value)} us" if unit == "us" else number(value)


_MAKERS = {
    "peers-summary": (_summary, {"rounds"}),
    "peers-who": (_settings, {"crash"}),
    "peers-throughput": (_throughput, {"rounds"}),
    "peers-submitting": (_submitting, {"rounds"}),
    "peers-round-trip": (_round_trip, {"rounds"}),
    "peers-idle": (_idle, {"idle", "rounds"}),
    "peers-legs": (_legs, {"legs"}),
    "peers-steps": (_steps, {"steps"}),
    "peers-raw": (_raw, {"raw", "rounds"}),
}
