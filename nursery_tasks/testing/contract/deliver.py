"""Submitting and claiming: what goes in comes out, once."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread

from ...brokers.protocol import Feature
from ...model.delivery import Delivery, Released
from ...model.states import JobState
from .harness import ContractHarness, Part, Topic
from .steps import (
    claim,
    claim_one,
    expect,
    expect_claimable,
    expect_equal,
    expect_state,
    ids_of,
    job,
    record,
    settle,
    submit,
    succeeded,
)

topic = Topic("deliver")


@topic.check()
def job_arrives_as_submitted(harness: ContractHarness) -> None:
    """A job arrives with the id, queue, task and payload that it was submitted with."""
    broker = harness.open()
    payload = bytes(range(256))
    submit(broker, job("a", queue="images", task="app.render", payload=payload))
    delivery = claim_one(broker, "a", queues=["images"])
    found = (delivery.queue, delivery.task, delivery.payload)
    expect_equal(found, ("images", "app.render", payload), "queue, task and payload")
    counts = (delivery.attempt, delivery.crashes, delivery.lapses)
    expect_equal(counts, (1, 0, 0), "attempt, crashes and lapses of a first delivery")


@topic.check()
def payloads_of_any_size(harness: ContractHarness) -> None:
    """A payload may be empty, and it may be a megabyte."""
    broker = harness.open()
    payloads = {"empty": b"", "large": b"\x00\xff" * 500_000}
    submit(broker, *(job(name, payload=payload) for name, payload in payloads.items()))
    for delivery in expect_claimable(broker, *payloads):
        expect(delivery.payload == payloads[delivery.id], f"the {delivery.id} payload came back changed")


@topic.check()
def names_with_special_characters(harness: ContractHarness) -> None:
    """Ids, tasks and queues may have every character that is allowed in them."""
    broker = harness.open()
    ids = ["a'b\"c", "50%", "a;--", "a:b{c}*?[d]", "ключ-鍵", "x" * 200]
    submit(broker, *(job(job_id, queue="Q_1.x-y@node.1", task=f"tasks.{job_id}"[:200]) for job_id in ids))
    for delivery in expect_claimable(broker, *ids, queues=["Q_1.x-y@node.1"]):
        expect_equal(delivery.task, f"tasks.{delivery.id}"[:200], "the task")
        settle(broker, succeeded(delivery))
    expect_state(broker, JobState.SUCCEEDED, *ids)


@topic.check()
def states_of_a_plain_life(harness: ContractHarness) -> None:
    """A job is ready, then claimed, then has ended."""
    broker = harness.open()
    submit(broker, "a")
    expect_state(broker, JobState.READY, "a")
    delivery = claim_one(broker, "a")
    expect_state(broker, JobState.CLAIMED, "a")
    settle(broker, succeeded(delivery))
    expect_state(broker, JobState.SUCCEEDED, "a")
    expect_claimable(broker)


@topic.check()
def claim_does_not_wait(harness: ContractHarness) -> None:
    """A claim from an empty or an unknown queue gives nothing, at once."""
    broker = harness.open()
    expect_equal(claim(broker, queues=["nobody-knows-it"]), [], "a claim from an unknown queue")
    submit(broker, "a")
    settle(broker, succeeded(claim_one(broker, "a")))
    expect_equal(claim(broker), [], "a claim from an empty queue")


@topic.check()
def claim_keeps_its_limit(harness: ContractHarness) -> None:
    """A claim gives at most as many jobs as it was asked for, over all queues."""
    broker = harness.open()
    submit(broker, *(job(f"a{n}", queue="a") for n in range(5)), *(job(f"b{n}", queue="b") for n in range(5)))
    expect_equal(ids_of(claim(broker, 7, queues=["a", "b"])), ["a0", "a1", "a2", "a3", "a4", "b0", "b1"], "a claim of 7")
    expect_equal(ids_of(claim(broker, 7, queues=["a", "b"])), ["b2", "b3", "b4"], "the next claim of 7")


@topic.check()
def claim_of_nothing(harness: ContractHarness) -> None:
    """A claim of 0 jobs, or from no queues, gives nothing and takes nothing."""
    broker = harness.open()
    submit(broker, "a")
    expect_equal(claim(broker, 0), [], "a claim of 0 jobs")
    expect_equal(claim(broker, queues=[]), [], "a claim from no queues")
    expect_claimable(broker, "a")


@topic.check()
def claim_only_from_named_queues(harness: ContractHarness) -> None:
    """A claim gives only jobs of the queues that it names."""
    broker = harness.open()
    submit(broker, job("a", queue="a"), job("b", queue="b"), job("c", queue="c"))
    expect_claimable(broker, "a", "c", queues=["a", "c"])
    expect_state(broker, JobState.READY, "b")


@topic.check()
def one_job_one_worker(harness: ContractHarness) -> None:
    """A job that somebody holds is not given to anybody else."""
    broker = harness.open()
    submit(broker, "a", "b", "c")
    claim(broker, 2, worker="worker-1")
    expect_equal(ids_of(claim(broker, worker="worker-2")), ["c"], "the claim of the second worker")
    expect_claimable(broker)


@topic.check()
def tokens_are_fresh(harness: ContractHarness) -> None:
    """Each call of claim has tokens of 16 bytes at least that no other call has, also for the same job."""
    broker = harness.open()
    submit(broker, *(f"a{n}" for n in range(10)))
    tokens: list[bytes] = []
    for _ in range(2):
        deliveries = [claim_one(broker, f"a{n}", limit=1) for n in range(10)]
        tokens += [delivery.token for delivery in deliveries]
        settle(broker, *(Released(delivery) for delivery in deliveries))
    expect(min(len(token) for token in tokens) >= 16, "a token must have 128 random bits")
    expect_equal(len(set(tokens)), 20, "different tokens of 20 calls")


@topic.check()
def empty_batches(harness: ContractHarness) -> None:
    """Every call takes an empty batch and answers with an empty list."""
    broker = harness.open()
    answers: dict[str, Sequence[object]] = {
        "submit": broker.submit([]),
        "settle": broker.settle([]),
        "renew": broker.renew([], 15.0),
        "cancel": broker.cancel([], None),
        "outcomes": broker.outcomes([]),
    }
    for call, answer in answers.items():
        expect(len(answer) == 0, f"{call}() of an empty batch answered {answer!r}")


@topic.check()
def large_batches(harness: ContractHarness) -> None:
    """A batch may have thousands of jobs; the answers have its order."""
    broker = harness.open()
    ids = [f"a{n}" for n in range(3_000)]
    submit(broker, *ids)
    deliveries = claim(broker, 3_000)
    expect(ids_of(deliveries) == ids, "a claim of 3000 jobs is not complete or not in order")
    settle(broker, *(succeeded(delivery, str(n).encode()) for n, delivery in enumerate(deliveries)))
    states = {found.state for found in broker.outcomes(ids) if found is not None}
    expect_equal(states, {JobState.SUCCEEDED}, "the states of 3000 settled jobs")


@topic.check()
def threads_do_not_disturb_each_other(harness: ContractHarness) -> None:
    """Calls from several threads at a time lose nothing and give nothing twice."""
    broker = harness.open()
    claimed: list[Delivery] = []
    problems: list[Exception] = []

    def work(name: str) -> None:
        try:
            submit(broker, *(f"{name}-{n}" for n in range(50)))
            while deliveries := claim(broker, 7, worker=name):
                claimed.extend(deliveries)
                settle(broker, *(succeeded(delivery) for delivery in deliveries))
        except Exception as error:
            problems.append(error)

    threads = [Thread(target=work, args=(f"worker-{n}",), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    expect(not any(thread.is_alive() for thread in threads), "a thread hangs in a call")
    expect_equal(problems, [], "what the threads raised")
    expect_equal(len(claimed), 200, "deliveries of 200 jobs")
    expect_equal(len(set(ids_of(claimed))), 200, "different jobs among the deliveries")


@topic.check(clock=True)
def waiting_time_is_told(harness: ContractHarness) -> None:
    """A delivery says how long the job could have been started before."""
    broker = harness.open()
    submit(broker, "a")
    harness.advance(7)
    delivery = claim_one(broker, "a")
    expect_equal(delivery.waited_seconds, 7, "waited_seconds")
    settle(broker, Released(delivery))
    harness.advance(2)
    expect_equal(claim_one(broker, "a").waited_seconds, 2, "waited_seconds after the job came back")


@topic.check(Feature.DELAYS, clock=True)
def waiting_time_begins_when_due(harness: ContractHarness) -> None:
    """A delay is no waiting time."""
    broker = harness.open()
    submit(broker, job("a", delay_seconds=10))
    harness.advance(13)
    broker.sweep(100)
    expect_equal(claim_one(broker, "a").waited_seconds, 3, "waited_seconds")


@topic.check(Part.ADMIN)
def parent_is_kept(harness: ContractHarness) -> None:
    """The id of the job that submitted another one is kept with it."""
    broker = harness.open()
    submit(broker, job("a"), job("b", parent="a"))
    expect_equal([record(broker, "a").parent, record(broker, "b").parent], [None, "a"], "the parents")
