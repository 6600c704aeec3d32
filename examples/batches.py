"""One call for many jobs: documents are indexed a hundred at a time, and each has an outcome of its own.

python examples/batches.py
"""

import anyio

from nursery_tasks import App, Batch, Retry, current_job

app = App("memory:")


# --8<-- [start:task]
@app.task(batch=Batch(100, wait=0.2), retry=Retry(3, on=(ConnectionError,), wait=0.1))
async def index(documents: list[str]) -> list[int | Exception]:
    jobs = current_job().batch
    print(f"one call, {len(jobs)} in it")
    return [length_of(document, job.attempt) for document, job in zip(documents, jobs, strict=True)]


def length_of(document: str, attempt: int) -> int | Exception:
    if not document:
        return ValueError("an empty document")  # this job fails, and no other
    if document == "unlucky" and attempt == 1:
        return ConnectionError("try again")  # this one is tried again, alone
    return len(document)


# --8<-- [end:task]
async def main() -> None:
    async with app, app.open_worker():
        documents = [f"document {number}" for number in range(98)] + ["unlucky", ""]
        handles = await app.enqueue_many(index.job(document) for document in documents)
        for document, handle in zip(documents, handles, strict=True):
            try:
                length = await handle
            except ValueError as error:
                print(f"{document!r} has failed: {error}")
            else:
                assert length == len(document)
        print("attempts of the unlucky one:", (await handles[98].outcome()).attempt)


if __name__ == "__main__":
    anyio.run(main)
