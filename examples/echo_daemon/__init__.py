"""An echo daemon that any number of programs share: see README.md."""
