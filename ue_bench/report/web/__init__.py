"""Reports as one page in a browser: the table with every cell, heat maps, what sources print, costs, pictures."""

from __future__ import annotations

from ue_bench.report.web.document import as_html

__all__ = ["as_html"]
