"""The worker: the process of its own in which the WhatsApp library lives.

Threads, no event loop: the library calls back on threads of its own, and what it hands over must be on the disk before
its call returns.
"""
