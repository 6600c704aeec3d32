"""nursery-tasks: a structured-concurrency task runner on AnyIO."""
