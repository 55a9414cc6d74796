"""Figures of a report: bars, curves over epochs, lines over ratios; PNG and SVG, the same bytes every time."""

from __future__ import annotations

from ue_bench.report.figures.bars import draw_bars
from ue_bench.report.figures.curves import draw_curves
from ue_bench.report.figures.ratios import draw_ratios
from ue_bench.report.figures.style import Drawn, save

__all__ = ["Drawn", "draw_bars", "draw_curves", "draw_ratios", "save"]
