"""What the README shows is what the examples hold, and every link in it leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_thirty_lines_of_the_readme_are_the_first_example() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert (ROOT / "examples" / "first.py").read_text(encoding="utf-8") == blocks[0]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_to_a_file_leads_to_one(target: str) -> None:
    assert (ROOT / target).is_file(), f"README.md links to {target}"
