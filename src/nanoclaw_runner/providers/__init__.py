"""One file for each provider, with `run(request, emit)` that drives its CLI and returns the run's end."""
