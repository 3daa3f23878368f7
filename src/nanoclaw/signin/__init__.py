"""Signing in: drives the providers' own sign-in programs, and says what happens as events for a terminal or a page."""
