"""Small text helpers."""


def shout(text: str) -> str:
    """The text in upper case with an exclamation mark."""
    return text.upper() + "!"
