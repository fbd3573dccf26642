"""What is in feedback files and what is wrong with them."""
