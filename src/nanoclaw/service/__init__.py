"""The host as a service, which starts with the machine."""
