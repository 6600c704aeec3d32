"""The drawing of a flow: what stands in it, and that no name can break it. (Mermaid's own parser has read these texts.)"""

from __future__ import annotations

import re
from typing import Any

from nursery_tasks import App, parallel, parallel_map, sequence

app = App("memory:")


@app.task
async def fetch(url: str, **options: Any) -> Any:
    """Get something."""


@app.task
async def end(*things: Any) -> Any:
    """Bear the name of a word of Mermaid's."""


@app.task(name='we"ird<b>`#;&[x](y){z}|end|\\n%%"')
async def weird(thing: Any, text: str = "") -> Any:
    """Bear a name that is hard to write down."""


def test_one_five_three_one() -> None:
    flow = sequence(fetch.job("a"), parallel(*[end] * 5), parallel(*[end] * 3, then=sum), end)
    assert flow.to_mermaid() == (
        "flowchart TD\n"
        "    s1[\"fetch('a')\"]\n"
        '    subgraph s2["parallel"]\n'
        '        s3["end"]\n'
        '        s4["end"]\n'
        '        s5["end"]\n'
        '        s6["end"]\n'
        '        s7["end"]\n'
        "    end\n"
        '    subgraph s8["parallel"]\n'
        '        s9["end"]\n'
        '        s10["end"]\n'
        '        s11["end"]\n'
        "    end\n"
        '    s12(["sum"])\n'
        '    s13["end"]\n'
        "    s1 --> s2\n"
        "    s8 --> s12\n"
        "    s2 --> s8\n"
        "    s12 --> s13\n"
    )


def test_groups_inside_groups_and_empty_ones() -> None:
    flow = parallel(sequence(end, parallel()), parallel_map(end, limit=2), policy="first_success")
    assert flow.to_mermaid() == (
        "flowchart TD\n"
        '    subgraph s1["parallel, first success"]\n'
        '        subgraph s2["sequence"]\n'
        '            s3["end"]\n'
        '            subgraph s4["parallel"]\n'
        '                s5["(nothing)"]\n'
        "            end\n"
        "        end\n"
        '        subgraph s6["for each item, 2 at once"]\n'
        '            s7["end"]\n'
        "        end\n"
        "    end\n"
        "    s3 --> s4\n"
    )
    assert sequence().to_mermaid() == 'flowchart TD\n    subgraph s1["sequence"]\n        s2["(nothing)"]\n    end\n'


def test_no_name_and_no_argument_breaks_the_drawing() -> None:
    flow = sequence(weird.job("a", text='";\n --> x'), lambda one: one, fetch.job(size=10**99))
    drawn = flow.to_mermaid()
    for line in drawn.splitlines()[1:]:
        assert re.fullmatch(r' +(s\d+(\[|\(\[)"[^"<>`\\%\n]*"(\]|\]\))|s\d+ --> s\d+)', line), line
    assert "we#quot;ird#lt;b#gt;#96;#35;;#amp;[x](y){z}|end|#92;n#37;#37;#quot;('a', text='#quot;;#92;n --#gt; x')" in drawn
    assert '"#lt;lambda#gt;"' in drawn
