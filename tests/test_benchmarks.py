"""The benchmarks can still be run, and the page shows the figures that are stored."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from rabbit_server import need_server as need_rabbit
from rabbit_server import shared_server
from redis_server import need_server

ROOT = Path(__file__).parent.parent
DATA = ROOT / "docs" / "benchmarks-redis.json"
RABBIT_DATA = ROOT / "docs" / "benchmarks-rabbitmq.json"


@pytest.fixture(autouse=True)
def the_folder_of_benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:  # their names are plain words: `report`, `measuring`
        if getattr(sys.modules[name], "__file__", None) and str(ROOT / "benchmarks") in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.mark.parametrize("workers", ["one", "two"])
def test_a_visit_measures_what_the_tables_show(workers: str, tmp_path: Path) -> None:
    need_server()
    from measuring import Place
    from peers import rounds
    from peers.effort import Effort
    from peers.sides import OURS

    effort = Effort(share=0.0, singles=5, trips=4, callers=2)
    visit = rounds.visit_one_worker if workers == "one" else rounds.visit_two_workers
    figures = visit(OURS[0], Place(tmp_path), effort)

    assert figures.keys() == (rounds.LEGEND.keys() - {"two"} if workers == "one" else {"two"})
    assert all(value > 0 for row in figures.values() for value in row)


def test_a_visit_on_rabbitmq_measures_the_same(tmp_path: Path) -> None:
    need_server()
    need_rabbit()
    from peers import rounds
    from peers.effort import Effort
    from peers.rabbit import RabbitPlace
    from peers.sides import RABBIT_SIDES

    [_, side, *_] = RABBIT_SIDES  # on SQLite, whose jobs are counted by a query
    figures = rounds.visit_one_worker(
        side, RabbitPlace(tmp_path, shared_server()), Effort(share=0.0, singles=5, trips=4, callers=2)
    )

    assert figures.keys() == rounds.LEGEND.keys() - {"two"}
    assert all(value > 0 for row in figures.values() for value in row)


def test_a_visit_to_a_file_measures_the_same(tmp_path: Path) -> None:
    need_server()  # the folder's modules import its driver
    from peers import rounds
    from peers.effort import Effort
    from peers.servers import FilePlace
    from peers.sides import SQLITE_SIDES

    figures = rounds.visit_one_worker(
        SQLITE_SIDES[0], FilePlace(tmp_path), Effort(share=0.0, singles=5, trips=4, callers=2, most_seconds=5.0)
    )

    assert figures.keys() == rounds.LEGEND.keys() - {"two"}
    assert all(value > 0 for row in figures.values() for value in row)


def test_the_raw_limit_is_measured(tmp_path: Path) -> None:
    need_server()
    from measuring import Place
    from peers import raw
    from peers.effort import Effort

    [found] = raw.measure(Place(tmp_path), Effort(rounds=1, share=0.04)).values()

    assert found.keys() == {"stream", "scripts"}
    assert all(value > 0 for [row] in found.values() for value in row)


@pytest.mark.parametrize("data", [DATA, RABBIT_DATA], ids=["redis", "rabbitmq"])
def test_the_page_shows_the_stored_figures(data: Path, tmp_path: Path) -> None:
    from run_peers import write_tables

    page = tmp_path / "benchmarks.md"
    page.write_text((data.parent / "benchmarks.md").read_text())
    write_tables(json.loads(data.read_text()), page)

    assert page.read_text() == (data.parent / "benchmarks.md").read_text(), "python benchmarks/run_peers.py --render"


def test_the_tables_name_the_best_peer_and_by_how_much() -> None:
    from peers.tables import make_tables

    def figures(rate: float) -> dict[str, list[list[float]]]:
        row = {"one": [[rate, 1e6 / rate, 50.0]], "two": [[rate, 1e6 / rate, 90.0]], "bulk": [[rate]], "start": [[100.0]]}
        trips = {"singles": [[rate, 1e6 / rate]], "rest": [[1e3 / rate, 2e3 / rate]], "load": [[1e3 / rate, 2e3 / rate, rate]]}
        return {**row, **trips}

    def side(delivery: str, *, ours: bool) -> dict[str, object]:
        return {"delivery": delivery, "ours": ours}

    sides = {
        "nursery-tasks, asyncio": side("at least once", ours=True),
        "slow": side("at least once", ours=False),
        "good": side("at least once", ours=False),
        "careless": side("at most once", ours=False),
    }
    found = {name: figures(rate) for name, rate in zip(sides, (20_000.0, 500.0, 1_000.0, 9_000.0), strict=True)}
    tables = make_tables({"sides": sides, "scenarios": {"rounds": {"figures": {"found": found}}}})

    assert tables["peers-summary"].rows[0] == ["one worker, jobs/s", "20 000", "1 000 (good)", "20.0 x"]
    assert ["round trip at rest, median", "0.05 ms", "1.00 ms (good)", "20.0 x"] in tables["peers-summary"].rows
    assert "peers-idle" not in tables, "there are no figures for it"


def _rounds(*rates: float) -> dict[str, list[list[float]]]:
    return {
        "one": [[rate, 1e6 / rate, 50.0] for rate in rates],
        "two": [[rate] for rate in rates],
        "bulk": [[rate] for rate in rates],
        "singles": [[rate] for rate in rates],
        "rest": [[1e3 / rate, 2e3 / rate] for rate in rates],
        "load": [[1.0, 2.0, rate] for rate in rates],
    }


def test_one_table_puts_the_best_peer_of_each_column_beside_ours() -> None:
    from peers.overview import COLUMNS, against_the_best

    found = {"nursery-tasks, asyncio": _rounds(2_000, 9_000, 1_000), "slow": _rounds(500), "good": _rounds(4_000)}
    found["slow"]["bulk"] = [[10_000.0]]
    sides = {name: {"ours": name.startswith("nursery")} for name in found}
    ours, best, ratio = against_the_best({"Redis": {"sides": sides, "found": found}}).rows

    assert ours[:5] == ["Redis", "nursery-tasks", "2 000/s", "2 000/s", "500 us"], "medians"
    assert best[:6] == ["", "best peer", "4 000/s (good)", "4 000/s (good)", "250 us (good)", "10 000/s (slow)"]
    assert ratio[:6] == ["", "ratio", "0.50 x", "0.50 x", "0.50 x", "0.20 x"], (
        "above 1 says that ours is ahead, whatever it counts"
    )
    assert len(ratio) == len(COLUMNS) + 2


def test_two_versions_of_ours_are_compared_round_by_round() -> None:
    from peers.overview import two_versions

    found = {"main": _rounds(1_000, 1_000, 1_000), "this tree": _rounds(1_000, 2_000, 4_000)}
    rows = two_versions({"SQLite": {"sides": {}, "found": found}}, "main", "this tree").rows

    assert rows[0] == ["SQLite", "no-op, 1 worker", "1 000/s", "2 000/s", "2.00 x", "1.00 x", "4.00 x"]
    assert rows[2][:5] == ["SQLite", "CPU per job", "1 000 us", "500 us", "2.00 x"]


def test_rounds_end_before_the_time_does_and_each_has_an_order_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from measuring import Place
    from peers import turns
    from peers.effort import Effort
    from peers.sides import OURS

    clock, visited = iter(range(0, 10_000, 10)), list[str]()
    monkeypatch.setattr(turns.time, "monotonic", lambda: float(next(clock)))  # ten seconds for each round
    monkeypatch.setattr(turns, "visit", lambda side, *_: visited.append(side.name) or {"bulk": [1.0]})
    lanes = [turns.Lane("Redis", Place(tmp_path), OURS)]

    found, rounds = turns.take_turns(lanes, Effort(rounds=50), seed=1, most_seconds=75.0)

    assert rounds == 7, "an eighth would end after 80 seconds"
    assert {name: len(each["bulk"]) for name, each in found["Redis"].items()} == {side.name: 7 for side in OURS}
    assert len({tuple(visited[start : start + 3]) for start in range(0, len(visited), 3)}) > 1
