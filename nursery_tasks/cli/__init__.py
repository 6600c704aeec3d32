"""The command line: `nursery-tasks`, one module per command."""

from .main import main as main
