from datetime import date

import pytest

from ledger import Ledger


@pytest.fixture
def book():
    ledger = Ledger()
    ledger.add(date(2024, 1, 1), "rent", -90000)
    ledger.add(date(2024, 1, 31), "salary", 250000)
    ledger.add(date(2024, 2, 1), "rent", -90000)
    return ledger


def test_balance(book):
    assert book.balance("rent") == -180000


def test_balance_until_includes_the_day(book):
    assert book.balance("rent", until=date(2024, 2, 1)) == -180000


def test_zero_is_refused():
    with pytest.raises(ValueError):
        Ledger().add(date(2024, 1, 1), "x", 0)


def test_report_has_two_decimals(book):
    assert book.report() == "rent -1800.00\nsalary 2500.00"


def test_month(book):
    assert len(book.month(2024, 1)) == 2
