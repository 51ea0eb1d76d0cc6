"""From a run's predictions on its test images to a report that one can trust.

``Report`` holds the figures as tables, ``Comparison`` those of two runs and more; how they look, on a page and
in words, is beside them.
"""

from .comparison import Comparison, compare_reports
from .evaluation import Report
from .intervals import Interval
from .statistics import Confusion
from .untested import untested

__all__ = ["Comparison", "Confusion", "Interval", "Report", "compare_reports", "untested"]
