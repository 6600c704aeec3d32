from nursery_tasks import App

app = App("memory:")


@app.task(run_in="process")
def double(n: int) -> int:
    return 2 * n
