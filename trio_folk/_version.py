"""The version, read by the build and by ``trio-folk --version``."""

__version__ = "0.1.0"
