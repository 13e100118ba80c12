"""A shop's database, the same each time, and what is asked of it: queries to learn from, others to be judged by."""

import random
import sqlite3

SCHEMA = """
CREATE TABLE customers(id INTEGER PRIMARY KEY, city TEXT);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer_id INT, status TEXT, day INT);
CREATE TABLE items(id INTEGER PRIMARY KEY, order_id INT, sku TEXT, amount INT);
"""
OF_CUSTOMER = "SELECT count(*) FROM orders WHERE orders.customer_id = {}"
OF_STATUS = "SELECT min(orders.day) FROM orders WHERE orders.status = '{}'"
OF_SKU = "SELECT sum(items.amount) FROM items WHERE items.sku = 'sku-{}'"
OF_ORDER = "SELECT count(*) FROM items WHERE items.order_id = {}"
OF_DAY = "SELECT count(*) FROM orders WHERE orders.day = {}"
EACH_ORDER = (
    "SELECT orders.id, sum(items.amount) FROM orders JOIN items ON items.order_id = orders.id "
    "WHERE orders.customer_id = {} GROUP BY orders.id"
)
TRAIN = [
    *(OF_CUSTOMER.format(n) for n in range(3, 11)),
    *(OF_SKU.format(n) for n in (5, 17, 29)),
    *(OF_ORDER.format(n) for n in (8, 900)),
    OF_STATUS.format("lost"),
    OF_DAY.format(100),
]
HELD_OUT = [
    *(EACH_ORDER.format(n) for n in (41, 42, 43)),
    *(OF_SKU.format(n) for n in (61, 62)),
    *(OF_CUSTOMER.format(n) for n in (77, 78)),
    OF_ORDER.format(1234),
    OF_STATUS.format("returned"),
]
WRITES = "INSERT INTO orders SELECT id + 100000, customer_id, status, day FROM orders WHERE id <= 100"


def filled() -> sqlite3.Connection:
    """The database, without an index."""
    chance = random.Random(1)
    db = sqlite3.connect(":memory:", cached_statements=0)  # a statement that is kept goes on counting where it was
    db.executescript(SCHEMA)
    db.executemany("INSERT INTO customers VALUES (?, ?)", [(n, f"city-{n % 20}") for n in range(150)])
    statuses = ["paid"] * 96 + ["open"] * 2 + ["lost", "returned"]
    orders = [(n, chance.randrange(150), chance.choice(statuses), chance.randrange(365)) for n in range(2000)]
    db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", orders)
    items = [(n, chance.randrange(2000), f"sku-{chance.randrange(100)}", chance.randrange(9)) for n in range(4000)]
    db.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", items)
    db.commit()
    return db


def steps(db: sqlite3.Connection, sql: str) -> int:
    """How many instructions SQLite's machine needs for it, in tens. What it writes is undone."""
    counted = [0]
    db.set_progress_handler(lambda: counted.__setitem__(0, counted[0] + 10), 10)
    try:
        db.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        if str(error) == "interrupted":  # Ctrl+C while we counted: SQLite tells it in its own words
            raise KeyboardInterrupt from error
        raise
    finally:
        db.set_progress_handler(None, 0)
        db.rollback()
    return counted[0]


def plan(db: sqlite3.Connection, sql: str) -> list[str]:
    """How SQLite would go about it."""
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
