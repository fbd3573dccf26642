"""What one text holds: personal data, writing systems, near duplicates."""
