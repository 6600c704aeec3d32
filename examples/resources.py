"""One HTTP client per worker, opened before the first job and closed after the last, and given to the handlers that want it.

Run it: python examples/resources.py
"""

import socketserver
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from threading import Thread
from urllib.request import OpenerDirector, ProxyHandler, build_opener

import anyio

from nursery_tasks import App, resource

app = App("memory:")


@app.lifespan
async def site() -> AsyncIterator[str]:
    """Stands for the service that the jobs call; yields its address."""
    with serve_hello() as address:
        yield address


@app.lifespan
async def http_client(site: str = resource(site)) -> AsyncIterator[OpenerDirector]:
    """Open the client; a resource may want another one."""
    client = build_opener(ProxyHandler({}))
    client.addheaders = [("Referer", site)]
    print("client opened")
    yield client
    client.close()
    print("client closed")


@app.task
def fetch(path: str, http: OpenerDirector = resource(http_client), site: str = resource(site)) -> str:
    with http.open(f"{site}/{path}") as response:
        return str(response.read().decode())


async def main() -> None:
    async with app, app.open_worker(slots=4):
        jobs = await app.enqueue_many([fetch.job(path) for path in ("a", "b", "c")])  # the resources do not travel
        print(*[await job for job in jobs], sep=", ")


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"hello {self.path}".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve_hello() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hello) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


if __name__ == "__main__":
    anyio.run(main)
