"""From a store's plan and records to a table that can be pasted into a paper.

Reads plain dictionaries only: neither torch nor any content is imported.
"""

from __future__ import annotations

from ue_bench.report.cells import Cell
from ue_bench.report.formats import FORMATS, render
from ue_bench.report.page import View
from ue_bench.report.tables import Report, Row, build_report

__all__ = ["FORMATS", "Cell", "Report", "Row", "View", "build_report", "render"]
