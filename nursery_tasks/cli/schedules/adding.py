"""`nursery-tasks schedules add`: a schedule that stands in no code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, cast

import typer

from ... import App, Job
from ...model.options import GivenOptions
from ...shown import command_line
from ..arguments import check_no_app, read_argument, read_kwargs
from ..broker import find_app
from ..loops import run_until_signal
from ..options import AppOption, BrokerOption, JsonOption, VerboseOption
from ..trouble import USAGE, Trouble
from .changing import tell
from .moments import parse_duration, parse_moment, parse_optional_moment
from .naming import NameArgument
from .records import next_run


def add(
    name: NameArgument,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGS", help="Arguments, each JSON or else plain text; put -- before those that begin with -."),
    ] = None,
    cron: Annotated[str | None, typer.Option(metavar="EXPR", help="At times on the wall: '0 9 * * mon-fri'.")] = None,
    tz: Annotated[str | None, typer.Option(metavar="ZONE", help="With --cron: of which place; default: UTC.")] = None,
    every: Annotated[str | None, typer.Option(metavar="DURATION", help="At equal distances: 30s, 5m, 1h30m.")] = None,
    at: Annotated[str | None, typer.Option(metavar="ISO", help="Once: 2030-05-01T09:00Z.")] = None,
    sun: Annotated[str | None, typer.Option(metavar="EVENT", help="By the sun: sunrise, noon, sunset, dawn, dusk.")] = None,
    latitude: Annotated[float | None, typer.Option(help="With --sun: in degrees, negative in the south.")] = None,
    longitude: Annotated[float | None, typer.Option(help="With --sun: in degrees, negative in the west.")] = None,
    start: Annotated[str | None, typer.Option(metavar="ISO", help="The first moment that counts.")] = None,
    end: Annotated[str | None, typer.Option(metavar="ISO", help="The last moment that counts.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many runs there are at most.")] = None,
    jitter: Annotated[str, typer.Option(metavar="DURATION", help="The most by which a run is moved: 30s.")] = "0s",
    overlap: Annotated[
        str, typer.Option(metavar="POLICY", help="While a run goes on: allow, skip, queue_one, queue_all, cancel.")
    ] = "allow",
    catch_up: Annotated[
        str, typer.Option(metavar="POLICY", help="What was missed: one, all, none, or not older than 1h.")
    ] = "one",
    pause_on_failure: Annotated[bool, typer.Option("--pause-on-failure", help="A run that has failed pauses it.")] = False,
    kwargs: Annotated[str | None, typer.Option(metavar="JSON", help="Keyword arguments, as one JSON object.")] = None,
    queue: Annotated[str | None, typer.Option(help="The queue; default: the task's with --app, else 'default'.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="0 to 9, higher goes first.")] = None,
    retry: Annotated[int | None, typer.Option(min=1, metavar="ATTEMPTS", help="How many attempts in all.")] = None,
    job_timeout: Annotated[
        float | None, typer.Option("--job-timeout", min=0.001, metavar="SECONDS", help="How long one attempt may run.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Change a schedule that is there already.")] = False,
    broker: BrokerOption = None,
    app: AppOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Put a schedule into the broker, where any worker runs it. The program of the task need not be importable here.

    One of --cron, --every, --at and --sun says when. With --app the task's name, the arguments and the task's options are
    checked first.
    """
    check_no_app(task, args or [], app, f"schedules add {name}")
    spec = _spec_of({"--cron": cron, "--every": every, "--at": at, "--sun": sun}, tz, latitude, longitude)
    policies: dict[str, Any] = {
        "jitter": parse_duration("--jitter", jitter),
        "start": parse_optional_moment("--start", start),
        "end": parse_optional_moment("--end", end),
        "limit": limit,
        "overlap": overlap,
        "catch_up": parse_duration("--catch-up", catch_up) if catch_up[:1].isdigit() else catch_up,
        "pause_on_failure": pause_on_failure,
    }
    given = {"queue": queue, "priority": priority, "retry": retry, "timeout": job_timeout}
    options = cast("GivenOptions", {option: value for option, value in given.items() if value is not None})
    found = find_app(broker, app, create=True)
    if app is not None:
        found.get_task(task)  # a slip is better told now than by a worker that cannot run it
    job = found.job(task, *map(read_argument, args or ()), **read_kwargs(kwargs)).with_options(**options)
    from ...client.schedules import declared_schedule  # late: other commands have no schedules

    declared_schedule(name, job, spec, **policies)  # for its errors, before a database is made
    return run_until_signal(_add, found, name, job, spec, policies, replace, as_json)


async def _add(app: App, name: str, job: Job[Any], spec: object, policies: dict[str, Any], replace: bool, as_json: bool) -> int:
    async with app:
        known = None if replace else await app.schedules.get(name)
        if known is not None:
            step = f"another name; or --replace to change it, see {command_line('schedules show', name)}"
            raise Trouble(f"there is a schedule {name!r} already: {known.task}, {known.words}", step)
        info = await app.schedules.put(name, job, spec, **policies)
    if info.next_run is None:
        return tell(info, f"{name}: {info.words}; no run is to come: that is over", as_json)
    return tell(info, f"{name}: {info.words}; next {next_run(info, datetime.now(UTC))}", as_json)


def _spec_of(given: dict[str, str | None], tz: str | None, latitude: float | None, longitude: float | None) -> object:
    """Make the spec that the options say.

    Raises:
        Trouble: They say none, or more than one.
        InvalidOptions: What they say makes no sense.
    """
    said = [(option, value) for option, value in given.items() if value is not None]
    if len(said) != 1:
        what = "it wants to know when" if not said else f"{' and '.join(option for option, _ in said)} both say when"
        raise Trouble(what, "one of --cron '0 2 * * *', --every 5m, --at 2030-05-01T09:00Z, --sun sunset", code=USAGE)
    [(option, value)] = said
    if tz is not None and option != "--cron":
        raise Trouble(f"--tz says where the clock of --cron hangs, and there is {option}", "leave it out", code=USAGE)
    if option != "--sun" and (latitude is not None or longitude is not None):
        raise Trouble(f"--latitude and --longitude go with --sun, and there is {option}", "leave them out", code=USAGE)
    from ... import at, cron, every, sun  # late: no other command needs them

    match option:
        case "--cron":
            return cron(value, tz=tz or "UTC")
        case "--every":
            return every(parse_duration(option, value))
        case "--at":
            return at(parse_moment(option, value))
        case _:
            if latitude is None or longitude is None:
                step = f"--sun {value} --latitude 41.9 --longitude 12.5"
                raise Trouble("--sun wants --latitude and --longitude", step, code=USAGE)
            return sun(cast("Any", value), latitude=latitude, longitude=longitude)
