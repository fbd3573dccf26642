"""What the exports of several tools have in common."""
