"""Leap years of the Gregorian calendar."""


def is_leap(year: int) -> bool:
    """Whether the year has a 29th of February."""
    return year % 4 == 0


def days_in_year(year: int) -> int:
    """365, or 366 in a leap year."""
    return 366 if is_leap(year) else 365
