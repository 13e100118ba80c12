from decimal import Decimal
from cart import Cart

def test_total_counts_quantities():
    c = Cart(); c.add("tea", "2.50", 3); c.add("cup", "4.00")
    assert c.total() == Decimal("11.50")

def test_adding_again_adds_up():
    c = Cart(); c.add("tea", "2.50", 1); c.add("tea", "2.50", 2)
    assert c.total() == Decimal("7.50")

def test_discount_on_an_empty_cart():
    assert Cart().total(10) == Decimal("0.00")
