"""Configs of TRL, LLaMA-Factory, Axolotl and ms-swift as recipes. No torch.

`rules.py` has what a rule is, each tool has a file of its own rules, and `training.py`, `model.py`, `losses.py` and
`datasets.py` have what several tools share. `reading.py` finds out what a file or a command line is, `translation.py`
goes through it key by key.
"""
