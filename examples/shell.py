"""Programs as children of a scope: their output while they run, their errors, and their end with all that they started.

Run it: python examples/shell.py
"""

import anyio

from nursery_tasks import App, current_job, run_process, run_process_sync
from nursery_tasks.errors import ProcessFailed

app = App("memory:")


@app.task
async def build(name: str) -> str:
    """Show each line as the job's progress while the program runs."""
    script = 'echo "compiling $1"; sleep 0.1; echo "linking $1"'
    ended = await run_process(["sh", "-c", script, "sh", name], on_output=current_job().progress)
    return ended.text.splitlines()[-1]


@app.task
def count_words(text: str) -> int:
    """Do the same in a `def` handler."""
    return int(run_process_sync(["wc", "-w"], stdin=text).text)


@app.task
async def deploy() -> None:
    await run_process(["sh", "-c", "echo no such host >&2; exit 3"])


@app.task
async def serve() -> None:
    """Run a program that starts another one, and neither ends by itself."""
    await run_process(["sh", "-c", "sleep 1000 & sleep 1000"])


async def main() -> None:
    async with app, app.open_worker(slots=4):
        print(await build.run("kernel"))
        print("words:", await count_words.run("to be or not to be"))
        try:
            await deploy.run()
        except ProcessFailed as error:
            print(f"{error.returncode}: {error.stderr.strip()}")
        began = anyio.current_time()
        with anyio.move_on_after(0.3):
            await serve.run()
        print(f"both were gone after {anyio.current_time() - began:.1f} s")


if __name__ == "__main__":
    anyio.run(main)
