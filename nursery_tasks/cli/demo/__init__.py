"""`nursery-tasks demo`: real input, a real worker, and a result that can be checked by hand."""

from .command import demo as demo
