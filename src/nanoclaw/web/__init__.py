"""The page: what the owner sees in a browser on this machine.

Server-rendered; every page works without its script, which only brings parts up to date and sends forms without a
reload. `access` lets the owner in and nobody else; `live` tells the browser what has changed; one module for each kind
of page. Whatever a page does, a command does too.
"""

from nanoclaw.web.application import Page

__all__ = ["Page"]
