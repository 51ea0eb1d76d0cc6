"""From a run's predictions on its held-out pictures to a report that one can trust.

``Report`` holds the figures as tables; how it looks, on a page and in words, is beside it.
"""

from .evaluation import Confusion, Interval, Report

__all__ = ["Confusion", "Interval", "Report"]
