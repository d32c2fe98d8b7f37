"""A program whose calls, workers and health can be seen from outside."""
