"""Numbers in sentences."""


def counted(number: int, what: str) -> str:
    """So many of something: "1 epoch", "1,800 generations"."""
    return f"{number:,} {plural(what, number)}"


def plural(what: str, number: int = 2) -> str:
    """A noun as it follows this number."""
    return what if number == 1 else f"{what}s"


def percent(share: float) -> str:
    """A fraction as it was given, on one line: "95 %", "97.5 %"."""
    return f"{100 * share:.6g}\N{NO-BREAK SPACE}%"
