"""Figures, one kind per module; style.py has what they share, labels.py places names.

A function draws a Figure from numbers; `as_svg` of style.py converts it to a file.
"""
