"""Pictures made by code, and files of feedback on them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> Image.Image:
    """Return smooth colours that another seed makes another picture of."""
    width, height = size
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def save_picture(
    path: Path, seed: int = 0, size: tuple[int, int] = (24, 16), mode: str = "RGB", **options: Any
) -> Path:
    """Write such a picture and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size, mode).save(path, **options)
    return path


def encoded(seed: int = 0, form: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of such a picture's file."""
    buffer = io.BytesIO()
    picture(seed, **options).save(buffer, form)
    return buffer.getvalue()


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def thumbs(folder: Path, count: int = 6, prompts: int = 3) -> Path:
    """Write pictures and a file of thumbs on them: up and down in turn, and in turn for each prompt."""
    rows = []
    for i in range(count):
        save_picture(folder / "pics" / f"{i}.png", seed=i)
        rows.append(
            {
                "prompt": f"prompt {i % prompts}",
                "image": f"pics/{i}.png",
                "label": (i % prompts + i // prompts) % 2 == 0,
            }
        )
    return write_rows(folder / "feedback.jsonl", rows)
