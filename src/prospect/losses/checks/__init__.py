"""The suite that every loss passes."""
