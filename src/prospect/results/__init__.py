"""What is written and read again: run directories, evaluations and studies as typed, versioned models."""
