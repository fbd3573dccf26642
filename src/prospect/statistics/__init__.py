"""Statistics of evaluations and of feedback: estimates with intervals, tests, planning. No torch."""
