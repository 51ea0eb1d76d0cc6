"""From a run's predictions on its held-out pictures to a report that one can trust.

``Report`` holds the figures as tables, ``Comparison`` those of two runs and more; how they look, on a page and
in words, is beside them.
"""

from .comparison import Comparison, compare_reports
from .evaluation import Report
from .statistics import Confusion, Interval

__all__ = ["Comparison", "Confusion", "Interval", "Report", "compare_reports"]
