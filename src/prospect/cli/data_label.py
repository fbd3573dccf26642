"""`prospect data label`: the same as `prospect label`."""

from prospect.cli.label import add_arguments, run

__all__ = ["add_arguments", "run"]
