"""Where the thinking of an answer ends and the answer begins."""

from __future__ import annotations

import re

_THINK = re.compile(r"<(/?)think>", re.ASCII | re.IGNORECASE)


def without_thoughts(text: str, *, endless: bool = True) -> tuple[str, str]:
    """(reasoning, answer): the answer is what follows the last `</think>`, up to a `<think>` that never ends.

    The opening tag may be missing, as where the chat template has said it. Text without tags is all answer. endless=False:
    a thought that never ends is no thought, and belongs to the answer.
    """
    tags = list(_THINK.finditer(text))
    closing = next((tag for tag in reversed(tags) if tag[1]), None)
    start, after = (0, 0) if closing is None else (closing.start(), closing.end())
    begun = next((tag for tag in tags if tag.start() >= after), None) if endless else None
    thought = text[:start]
    if (opening := _THINK.search(thought)) and not opening[1]:
        thought = thought[opening.end() :]
    if begun is None:
        return thought.strip(), text[after:]
    return "\n".join(filter(None, (thought.strip(), text[begun.end() :].strip()))), text[after : begun.start()]
