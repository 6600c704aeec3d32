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
