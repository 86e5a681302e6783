"""What is packaged beside the code."""
