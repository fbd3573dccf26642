"""The control of the pictures' benchmark says nothing of the rules."""

from pathlib import Path

from prospect.user_code import import_file

arms = import_file(Path(__file__).parents[3] / "benchmarks" / "image_arms.py")


def test_thumbs_dealt_anew_go_to_either_class_alike() -> None:
    thumbs = [i % 4 == 0 for i in range(1152)]
    dealt = [arms.dealt_anew(thumbs, seed) for seed in range(3)]
    for found in dealt:
        assert sum(found) == sum(thumbs)
        liked, others = (
            [new for old, new in zip(thumbs, found, strict=True) if old is label] for label in (True, False)
        )
        assert sum(liked) / len(liked) == sum(others) / len(others) == 0.25
    assert dealt[0] != dealt[1] != dealt[2]
