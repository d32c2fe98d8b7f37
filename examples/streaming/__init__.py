"""A worker whose matches come as they are found, and a program that has enough of them at some point."""
