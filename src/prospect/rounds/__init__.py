"""Sample, label, align again: rounds of alignment on what the model itself writes."""
