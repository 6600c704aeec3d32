"""`python -m nursery_tasks` is the command `nursery-tasks`."""

from .cli import main

if __name__ == "__main__":
    main()
