"""The app for `nursery-tasks run`, with the limits that would make a test slow made small."""

from nursery_tasks.cli import serve
from nursery_tasks.worker import options, services

options.CLEANUP_SECONDS = 0.5
options.LEASE_SECONDS = 1.0
services.BEAT_SECONDS = 0.1
serve.CLEAN_UP_SECONDS = serve.STORE_SECONDS = 0.5

from owned.in_processes import app as app  # noqa: E402 - after the limits
