"""The champion at the wheel: films, a window, and in ``web`` a page."""
