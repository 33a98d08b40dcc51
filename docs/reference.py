"""Write docs/api.md, the reference of ``import wm_mpi``, from its docstrings.

Run it: pip install griffe2md; python docs/reference.py
"""

import re
from pathlib import Path

from griffe import Object, Parser, load
from griffe2md import default_config, render_object_docs

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NAMES = {"wm_mpi.api": ("load", "Champion", "Episode", "load_world", "World", "train"),
         "wm_mpi.pool": ("open_pool",), "wm_mpi.pool.calls": ("Calls",),
         "wm_mpi.pool.interface": ("Pool", "Outcome", "Worker", "Tasks", "Arithmetic")}
"""What is told, by the module that it lives in."""
STYLE = {"docstring_style": "google", "show_root_full_path": False, "show_root_members_full_path": False,
         "show_object_full_path": False, "heading_level": 3, "members_order": "source", "inherited_members": False,
         "summary": False, "line_length": 100, "show_signature_annotations": True, "show_bases": False}
BEGIN, END = "<!-- made by docs/reference.py -->\n", "<!-- until here -->\n"


def reference() -> str:
    """The reference as Markdown."""
    parts = []
    for module, names in NAMES.items():
        found = load(module, docstring_parser=Parser("google"), search_paths=[ROOT])
        for name in names:
            told = found[name]
            assert isinstance(told, Object)
            parts.append(render_object_docs(told, {**default_config, **STYLE}))  # type: ignore[typeddict-item]
    text = re.sub(r"\[([^]]*)\]\(#[^)]*\)", r"\1", "\n".join(parts))  # links to what has no page
    return re.sub(r"``([^`\n]+)``", r"`\1`", re.sub(r"\n{3,}", "\n\n", text)).strip() + "\n"


def page(before: str) -> str:
    """The page with its reference made anew."""
    head, rest = before.split(BEGIN)
    return f"{head}{BEGIN}\n{reference()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    path = DOCS / "api.md"
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
