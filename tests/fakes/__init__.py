"""Servers of other people's services, as far as tests need them, on loopback."""
