"""`python -m nursery_tasks` is the command `nursery-tasks`."""

if __name__ == "__main__":
    from nursery_tasks.cli import main  # here, because processes for handlers import this module again, by its path

    main()
