"""The numbers on the page of z0 are those that the committed benchmark wrote."""

from __future__ import annotations

import json
import runpy

from conftest import REPOSITORY


def test_the_table_is_what_the_benchmark_prints() -> None:
    table = runpy.run_path(str(REPOSITORY / "benchmarks/reference_point.py"))["table"]
    found = json.loads((REPOSITORY / "benchmarks/reference_point.json").read_text())
    assert f"```text\n{table(found)}\n```" in (REPOSITORY / "docs/reference-point.md").read_text()
