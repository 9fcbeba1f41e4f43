"""Print docs/settings.md: lmladder settings --json | python docs/site/settings.py"""

import json
import sys
from itertools import groupby

from lmladder.system.settings import Described, as_override

print(
    "# Settings\n\nThis page is generated (`make docs`); [using.md](using.md) shows how settings "
    "are changed.\nA setting with a choice, such as `file`, exists with that choice only."
)
settings = [Described(**each) for each in json.load(sys.stdin)]
for part, group in groupby(settings, lambda each: each.key.partition(".")[0]):
    print(f"\n## {part}\n\n| setting | default | allowed | meaning |\n| --- | --- | --- | --- |")
    for each in group:
        if not each.allowed:
            print(f"| `{each.key}` | | | **{each.help}** |")
            continue
        choice = f" (`{each.choice}`)" if each.choice else ""
        default = "" if each.choice else f"`{as_override(each.value)}`"
        print(f"| `{each.key}`{choice} | {default} | {each.allowed} | {each.help} |")
