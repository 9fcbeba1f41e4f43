"""Figures, one kind per module; style.py has what they share, labels.py places names.

A function draws a Figure from numbers; `as_svg` and `as_png` of style.py convert it to a file.
"""
