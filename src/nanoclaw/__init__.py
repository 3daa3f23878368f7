"""NanoClaw: a personal assistant that lives in chat groups, one sandbox per group."""

__version__ = "0.1.0"
