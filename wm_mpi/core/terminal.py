r"""Text for terminals, pipes and shells, whatever they can show. Standard library only: ``launch`` needs it.

Files are UTF-8; a terminal has the encoding that it has. What that lacks is spelt with what it has, and a file name that is
no text shows its bytes as ``\xe9``.
"""

import codecs
import re
import shlex
import sys
import unicodedata

SPELT = "wm_mpi.spelt"
"""The codecs error handler: for ``errors=`` of whatever writes text."""
PLAIN = {"±": "+-", "−": "-", "×": "x", "·": "-", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "→": "->"}
"""What NFKD does not take apart."""


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start:error.end])), error.end


def _plain(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte of a file name that it cannot decode
        return f"\\x{ord(character) - 0xdc00:02x}"
    parts = unicodedata.normalize("NFKD", PLAIN.get(character, character))
    return parts.encode("ascii", "ignore").decode() or "?"


codecs.register_error(SPELT, _spell)


def spell_streams() -> None:
    """Let stdout and stderr spell what they cannot show; what a program has put in their place stays as it is."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=SPELT)


def shown(text: str) -> str:
    """Text that every UTF-8 file, page and font can take, also of a file name that is none."""
    return text.encode(errors=SPELT).decode()


def quoted(word: object) -> str:
    """A word as a shell takes it, to be copied from a terminal; also a file name that is no text (bash, zsh, ksh)."""
    text = str(word)
    if not re.search("[\udc80-\udcff]", text):
        return shlex.quote(text)
    special = {"\\": "\\\\", "'": "\\'"}
    return "$'" + "".join(special.get(each, _plain(each) if "\udc80" <= each <= "\udcff" else each) for each in text) + "'"
