"""The command line: main.py lists the commands, one file holds each group of them."""
