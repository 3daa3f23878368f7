"""The attacker: what an agent that was talked into anything runs in its own shell. Only the standard library.

The folder is laid into the group's directory and started there as `python3 -I /workspace/group/inside PHASE`.
"""
