"""Outcomes that come with their hints."""

from __future__ import annotations

from contextlib import closing
from queue import SimpleQueue

import pytest
from redis_server import fresh_url, open_redis_broker

from nursery_tasks.brokers.redis.hints import read_hint
from nursery_tasks.brokers.redis.layout import encode
from nursery_tasks.model.delivery import Finished, Hint, Stored
from nursery_tasks.model.limits import Limit
from nursery_tasks.model.states import JobState
from nursery_tasks.testing.contract.steps import claim, job, settle, submit

SECONDS = 10.0
TOLD_BYTES = 8192  # of all outcomes of one call; as in `constants.lua`


@pytest.mark.parametrize("limited", [False, True], ids=["plain", "with a limit"])
def test_small_outcomes_are_told_until_it_is_enough(limited: bool) -> None:
    outcomes = {"a": b"x" * (TOLD_BYTES - 1), "b": b"y", "c": b"z"}
    heard: SimpleQueue[Hint] = SimpleQueue()
    with fresh_url() as url, closing(open_redis_broker(url)) as broker:
        broker.listen(["outcome"], heard.put)
        submit(broker, *(job(name, limits=(Limit("many", most=9),) if limited else ()) for name in outcomes))
        settle(broker, *(Finished(each, JobState.SUCCEEDED, outcomes[each.id]) for each in claim(broker)))
        hint = heard.get(timeout=SECONDS)
        assert set(hint.names) == set(outcomes)
        assert hint.stored == {name: Stored(JobState.SUCCEEDED, outcomes[name]) for name in ("a", "b")}
        assert broker.outcomes(["a", "b"]) == list(hint.stored.values())


@pytest.mark.parametrize("said", [b"a name", encode([["a", 99, "{}"]]), encode([["a"]]), encode({})])
def test_what_another_program_says_breaks_nothing(said: bytes) -> None:
    assert read_hint("outcome", said).stored == {}
