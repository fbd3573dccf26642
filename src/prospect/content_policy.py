"""Content security policies: what a page may run and look like, named by its hash."""

from __future__ import annotations

import base64
import hashlib


def source_hash(text: str) -> str:
    """Return what a policy calls an inline script or style: `sha256-...` of its text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
