"""An app for the HTTP door. Serve it: nursery-tasks run http_door:app --http 127.0.0.1:8000; then see http_door.sh"""

import anyio

from nursery_tasks import App

app = App()


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task
async def render(scene: str, seconds: float) -> str:
    await anyio.sleep(seconds)
    return f"{scene}.mp4"


@app.task(queue="notes", raw=True)
async def note(text: str) -> str:
    return text.strip().upper()
