"""Public far ends and fakes, for our tests, for `selftest`, and for people who try the program without an account."""
