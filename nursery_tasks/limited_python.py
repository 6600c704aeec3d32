"""The program of `execute.python`: limits itself, and then runs the code that comes on its stdin.

It is started by its path with `python -I`, and imports nothing of this package. The code comes on stdin because every user of
the machine can see the arguments of a process. The limits hold for all that it starts, too.

    limited_python.py <bytes of memory> <seconds of CPU> <open files> <arguments of the code> ...
"""

from __future__ import annotations

import resource
import sys


def main() -> None:
    """Run the code as a program would be."""
    memory, seconds, files = map(int, sys.argv[1:4])
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    del sys.argv[1:4]
    exec(compile(sys.stdin.buffer.read(), "<job>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
