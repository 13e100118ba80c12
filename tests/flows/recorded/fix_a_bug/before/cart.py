"""A shopping cart."""

from decimal import ROUND_HALF_UP, Decimal


class Cart:
    def __init__(self):
        self.items = []

    def add(self, name, price, quantity=1):
        for item in self.items:
            if item["name"] == name:
                item["quantity"] = quantity
                return
        self.items.append({"name": name, "price": Decimal(price), "quantity": quantity})

    def total(self, discount_percent=0):
        total = sum(i["price"] for i in self.items)
        total = total * (100 - discount_percent) / 100
        return total.quantize(Decimal("0.01"), ROUND_HALF_UP)
