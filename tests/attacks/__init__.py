"""`make attacks`: what an agent could try, tried from inside real sandboxes, and one table of what came of it."""
