"""Run directory in, one self-contained HTML page out."""

from prospect.report.run.build import build_report

__all__ = ["build_report"]
