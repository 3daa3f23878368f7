"""`nanoclaw setup`: from nothing to a first answer.

A step (`step.Step`) looks at the world to see whether it is done, and does what is missing; `guide` goes from one to
the next. Steps speak to the person through `talk.Talk`, which is a terminal, a pipe, or a program that reads JSON.
"""
