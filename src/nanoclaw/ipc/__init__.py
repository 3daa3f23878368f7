"""Filesystem IPC: agents put files into their group's mailbox, the host acts on them and answers.

protocol    what a file may say; the table of verbs
authority   who may do what; pure
handles     directories and files by handle: follows no link, blocks on nothing
files       one mailbox: claim, read, answer, keep what was refused
watch       who wakes the reader
mailbox     the reader of all mailboxes
"""
