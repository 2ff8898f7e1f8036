"""Text that JSON can say and PostgreSQL cannot keep: NUL, and halves of surrogate pairs.

They go there as other characters, and come back as they were.  Nearly no text has any.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final


#: Begins what stands for another character; of no meaning in Unicode.
MARK: Final = "\uf8ff"
_TROUBLE: Final = re.compile(f"[\x00{MARK}\ud800-\udfff]")
_ESCAPED: Final = re.compile(f"{MARK}([0-9a-f]{{4}})")


def dumps(data: Any) -> str:
    """JSON that PostgreSQL can keep."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    if "\\u0000" in text or MARK in text or not _is_whole(text):
        text = json.dumps(_mapped(data, escape), ensure_ascii=False, separators=(",", ":"))
    return text


def loads(text: str) -> Any:
    """What was given to `dumps`."""
    data = json.loads(text)
    return _mapped(data, unescape) if MARK in text else data


def escape(text: str) -> str:
    """A text without such characters."""
    return _TROUBLE.sub(lambda found: f"{MARK}{ord(found[0]):04x}", text)


def unescape(text: str) -> str:
    """The text that it was."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _mapped(data: Any, change: Callable[[str], str]) -> Any:
    if isinstance(data, str):
        return change(data)
    if isinstance(data, list | tuple):
        return [_mapped(each, change) for each in data]
    if isinstance(data, dict):
        return {change(key): _mapped(value, change) for key, value in data.items()}
    return data
