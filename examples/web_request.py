"""A workflow awaited inside a Starlette app under hypercorn; its client goes away. Run it: python examples/web_request.py"""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from nursery_tasks import App, current_job

folder = tempfile.TemporaryDirectory()
app = App(f"sqlite:///{folder.name}/jobs.db")
running: set[str] = set()


@app.task
async def render(page: int) -> str:
    running.add(current_job().id)
    try:
        await anyio.sleep(0.01 if page == 0 else 60)  # page 0 is short
    finally:
        running.discard(current_job().id)
    return f"page {page}"


@app.workflow(durable=True)
async def book(pages: list[int]) -> str:
    async with app.create_task_group() as group:
        parts = [group.start_soon(render, page) for page in pages]
    return ", ".join(part.return_value for part in parts)


# --8<-- [start:watch]
async def while_connected(request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
    """Do *work*, and cancel it when the client goes away. Read the request's body before."""
    response = Response(status_code=499)  # nobody will see it
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        response = await work()
        group.cancel_scope.cancel()
    return response


async def make_book(request: Request) -> Response:
    pages = [int(page) for page in request.query_params["pages"].split(",")]

    async def work() -> Response:
        return PlainTextResponse(await book.run(pages))

    return await while_connected(request, work)


# --8<-- [end:watch]
@asynccontextmanager
async def lifespan(web: Starlette) -> AsyncIterator[None]:
    async with app:
        yield


web = Starlette(routes=[Route("/book", make_book)], lifespan=lifespan)


async def ask(port: int, pages: str) -> anyio.abc.SocketStream:
    client = await anyio.connect_tcp("127.0.0.1", port)
    await client.send(f"GET /book?pages={pages} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
    return client


async def main() -> None:
    config = Config()
    config.bind, config.accesslog, config.errorlog = ["127.0.0.1:0"], None, None
    stop = anyio.Event()
    async with anyio.create_task_group() as group:

        async def server(*, task_status: anyio.abc.TaskStatus[list[str]]) -> None:
            await serve(web, config, shutdown_trigger=stop.wait, task_status=task_status)  # type: ignore[arg-type]

        [address] = await group.start(server)
        port = int(address.rpartition(":")[2])
        async with app.open_worker(slots=5):
            async with await ask(port, "0,0") as client:
                answer = b""
                async for chunk in client:
                    answer += chunk
                print(answer.splitlines()[-1].decode())

            client = await ask(port, "1,2,3")
            while len(running) < 3:  # noqa: ASYNC110 - for the demonstration
                await anyio.sleep(0.01)
            await client.aclose()
            began = anyio.current_time()
            while running:  # noqa: ASYNC110 - likewise
                await anyio.sleep(0.01)
            print(f"the client went away; the pages were gone {anyio.current_time() - began:.2f} s later")
        stop.set()


if __name__ == "__main__":
    anyio.run(main, backend="trio")
    folder.cleanup()
