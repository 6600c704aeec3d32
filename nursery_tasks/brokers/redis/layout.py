"""What stands in the server. Everything that this broker stores is listed here.

All keys begin with the prefix in braces, `{nursery-tasks}:` unless the URL says `?prefix=`:

    layout           STRING  the number of this layout, see below; it stays when everything else is gone
    jobs:<page>      HASH    up to ten jobs, each from its submission until its outcome has been kept long enough
    pages            ZSET    every page, scored by itself: the listing
    ids              HASH    job id -> n
    below:<job id>   ZSET    n of every job that the job has submitted, scored by itself
    ready:<queue>    ZSET    n of ready jobs without limits, scored (19 - priority) * 2^46 + n + 1000 * crashes;
                             in a fair queue with the job's rank instead of n
    due              ZSET    n of scheduled jobs, scored with the moment when they are due
    parked           SET     lines of parked jobs: a queue, a space, and the name that a worker must know
    parked:<line>    ZSET    n of the jobs in one, scored as in `ready`; they are in `due`, too
    pauses           HASH    name of a pause -> when it began, a space, and its record as JSON; "" -> the version of all
    paused_lines     SET     lines of jobs that are parked for a pause, which may be over
    lease            ZSET    n of claimed and started jobs, scored with the end of the lease
    ended            ZSET    n of ended jobs, scored with the moment when they may be dropped
    expiring         ZSET    n of jobs that wait for their first attempt and may do so only until the score
    keys             HASH    task, NUL, key -> n of the job that has not ended
    owner_leases     ZSET    owners, scored with the ends of their leases; 0 (gone) or -1 (ended): sweeps cancel what is left;
                             an owner that begins with `job:` is the job with the id that follows
    owned:<owner>    ZSET    n of the owner's jobs that have not ended and were not told to
    parents          HASH    owner -> how many of its jobs have not ended
    counts           HASH    digit of a state and queue -> how many jobs
    paused           SET     queues from which nobody may claim
    workers          HASH    worker -> when it was seen, a space, its description of itself as JSON
    beats            ZSET    workers, scored with the moment until which they count
    swept            HASH    at: when the last sweep was; from: when leases that are over are believed again, after nobody swept
                             for a while; it stays when everything else is gone
    in:<queue>       LIST    messages of other programs; a claim takes them from its left and makes jobs of them
    raw:<queue>      LIST    what is no message, likewise
    out:<name>       LIST    replies to other programs, which take them from its left; it has a time to live
    closed, owners   STRING  what keeps workers of layout 1 away; they stay, too
    seq              STRING  the last n, token of a lock, version of a schedule, of a state or of the pauses, and place of an
                             outgoing message; it stays, too

    line:<gate>      ZSET    n of ready jobs that stand at a gate, scored as in `ready`; of an ordering key, by their turns
    open:<queue>     ZSET    gates of the queue that may have room, scored with the score of their first, or a lower one
    shut             ZSET    gates that wait for a rate, scored with the moment when it has room again
    gates:<limit>    SET     gates of a limit at which somebody stands
    held:<limit>     SET     n of the limit's jobs that workers hold; of an ordering key, the one that has its turn
    rates            ZSET    limits that are rates, scored with `full_at`: see `model.limits`; until that has passed
    limits           ZSET    limits that have gates or hold jobs, all scored 0: the listing

    windows          HASH    name -> msgpack of an array: the id of the job that stands for all submissions of the name, and
                             until when: see `model.windows`
    window_ends      ZSET    the same names, scored with the latter

    fair             ZSET    lines of fair queues (a priority, a space, a queue), scored with their virtual time: see
                             `brokers/rules/shares.py`
    finish:<line>    ZSET    shares, scored with the finish of their last job; until the virtual time has reached that
    reached          SET     lines whose virtual time has moved since a sweep looked for shares to forget

    lock:<name>      ZSET    who stands in line for a lock, scored with the order of arrival; the first may have it
    lockers:<name>   ZSET    the same, scored with the ends of their leases
    tokens           HASH    lock -> the token of the first in its line, once that was told
    locks            ZSET    locks where somebody stands, scored with the first end of a lease there

    schedule:<name>  HASH    v: the version; a: when somebody has to look at it, empty: not by itself; b: the body
    schedules        ZSET    names of schedules, all scored 0: the listing, by code points
    looks            ZSET    names of those that are looked at, scored with the moment

    outgoing:<destination>  STREAM  messages that wait until a worker has sent them; their ids are numbers of `seq`, and -0
                             behind them; a: when it was stored; b: the body
    outboxes         ZSET    destinations for which something waits, all scored 0: the listing

    state:<name>     HASH    a small value; v: the version; b: the body
    states           ZSET    names of states, all scored 0: the listing, by code points

    events           STREAM  the log of events, if an app keeps one, an entry for each batch: see `model.event_log`; its name
                             is the number of the batch's first event; c: how many there are, t: when it was appended,
                             w and s: the writer and its sequence, b: the events
    event_log        HASH    id: that of the log; last: the number of the last event
    events:<writer>  STRING  the sequence of the last event of a process that appends to it; it has a time to live

    hint:<topic>     channel msgpack, a list of names: see `Hint`; or, from another program, one name. In place of the id of a
                             job that has ended may stand its id, its state and its packed outcome

A gate is where the jobs of one queue stand in line that wait for the same limit under the same rule: the rule, a space, the
queue, a space, and the limit's name. `brokers/rules/gates.py` says how gates open and close; here a gate at which somebody
stands and that is not among the open ones is closed.

`n` is the order of submission, in 14 digits so that equal scores sort by it. Moments are epoch seconds on the server's clock.
The page of a job is its n without the last digit, which is the end of the names of its fields there: the page of job 1234 is
`0000000000123`, and its state the field `s4`. So one command reads or writes many jobs, because those of one call mostly follow
each other. More of them on a page would save nothing, and cost much where their fields are short: the server keeps up to 512
such fields as a list, which it searches from its beginning. The fields are few, because each one costs more than its bytes:

    m  what the submission says, and nobody changes: msgpack of `Description`. Behind the id it is the same for all jobs that
       are submitted alike, so a script unpacks it once for them
    s  where it is: msgpack of an array, listed in `lua/constants.lua`. It is the same for jobs that took each step together
    p  the payload, as it came
    o  the packed outcome; before the end that of the last attempt that failed. Outcomes that the broker makes itself are not
       stored: whoever reads the job makes them from `s`
    g  the last progress

The prefix is one hash tag, so all of it is in one slot, and a script may touch jobs of several queues in one step: claims
from several queues, keys that are unique over all of them, owners whose jobs are anywhere. A Cluster is used by several
apps with a prefix each.

Layout 1, up to 30 November 2026, had each job in a hash of its own, `j:<n>`, and the numbers of all in the ZSET `all`. Whoever
opens a broker moves what is there, and so does a script that meets such a job later. Workers of that time would take numbers
out of the indexes whose jobs they do not find. What their claims and sweeps begin with, the ZSETs `closed` and `owners`, are
strings now, so that they fail before they have changed anything. Each script refuses another layout than its own.

Each script declares one key, the prefix in braces and the colon, under which nothing is ever stored: `cluster` says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ...model.delivery import Submission
from ...model.limits import Limit
from ..common.states import NUMBERS

DEFAULT_PREFIX: Final = "nursery-tasks"
PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
LAYOUT: Final = "2"  # what the scripts expect to find; another one is refused by all of them
TOKEN_BYTES: Final = 16  # of a claim; the job's n comes after them


class Description(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Field `m` of a job. Scripts read it by place."""

    id: str
    queue: str
    task: str
    priority: int
    keep_seconds: float
    max_crashes: int
    key: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    raw: bool = False


class FullDescription(Description, frozen=True, array_like=True, gc=False):
    """The same of a job with limits, or one that is delivered at most once."""

    # name, rule, most, interval, tolerance, rejects, ordered
    limits: tuple[tuple[str, str, int, float, float, bool, bool], ...] | None = None
    once: bool = False


def describe(job: Submission) -> Description:
    key, parent, tags, raw = job.key, job.parent, job.tags, job.raw
    facts = (job.id, job.queue, job.task, job.priority, job.keep_seconds, job.max_crashes, key, parent, tags, raw)
    if job.limits or job.once:
        return FullDescription(*facts, _to_places(job.limits) if job.limits else None, job.once)
    return Description(*facts)


def _to_places(limits: Sequence[Limit]) -> tuple[tuple[str, str, int, float, float, bool, bool], ...]:
    return tuple(
        (each.name, each.rule, each.most, each.interval_seconds, each.tolerance_seconds, each.rejects, each.ordered)
        for each in limits
    )


# name, seconds or 0, most or None, how many bytes of the description come after the array's first one and are the job's id
_Window = tuple[str, float, float | None, int]
# delay, start_at, expires, the owner's place among the blobs from 1, owner's lease, the state of a record, its outcome's place,
# the window, max_length, the share and its weight
How = tuple[
    float, float | None, float | None, int | None, float, int | None, int | None, _Window | None, int, tuple[str, float] | None
]


def how_to_store(job: Submission, blobs: dict[bytes, int]) -> How | None:
    """Return what a submission says of its beginning; None: what nearly all of them say, which is nothing.

    Args:
        blobs: Bytes that are sent beside it, with their places: owners and outcomes.
    """

    def place(blob: bytes) -> int:
        return blobs.setdefault(blob, len(blobs) + 1)

    is_timed = job.delay_seconds or job.start_at is not None or job.expires_seconds is not None
    is_plain = job.owner is None and job.ended is None and job.window is None and not job.max_length
    if is_plain and not is_timed and job.share is None:
        return None
    owner = None if job.owner is None else place(job.owner)
    state = None if job.ended is None else NUMBERS[job.ended]
    outcome = None if job.ended is None else place(job.outcome)
    window = None if job.window is None else (*msgspec.structs.astuple(job.window), len(encode(job.id)))
    share = None if job.share is None else (job.share, job.weight)
    when = job.delay_seconds, job.start_at, job.expires_seconds
    return *when, owner, job.owner_seconds, state, outcome, window, job.max_length, share


def pack_jobs(jobs: Sequence[Submission]) -> list[Any]:
    """Return what `storing.lua` wants to know of new jobs."""
    values: list[Any] = [_EMPTY, len(jobs)]
    hows: dict[int, How] = {}
    blobs: dict[bytes, int] = {}
    for place, job in enumerate(jobs, 1):
        how = how_to_store(job, blobs)
        if how is not None:
            hows[place] = how
        values.append(encode(describe(job)))
        values.append(job.payload)
    if hows:
        values[0] = encode(hows)
    values += blobs
    return values


encode: Final = msgspec.msgpack.Encoder().encode
decode_any: Final[Callable[[bytes], Any]] = msgspec.msgpack.Decoder().decode
decode_description: Final = msgspec.msgpack.Decoder(FullDescription).decode
_EMPTY: Final = encode({})
