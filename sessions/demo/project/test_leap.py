"""Run with: python -m unittest"""

import unittest

from leap import days_in_year, is_leap


class LeapTest(unittest.TestCase):
    def test_every_fourth_year_is_a_leap_year(self):
        self.assertTrue(is_leap(2024))
        self.assertFalse(is_leap(2023))

    def test_a_century_is_none(self):
        self.assertEqual(days_in_year(1900), 365)

    def test_but_every_fourth_century_is(self):
        self.assertEqual(days_in_year(2000), 366)


if __name__ == "__main__":
    unittest.main()
