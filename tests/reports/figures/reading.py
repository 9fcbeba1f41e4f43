"""What can be read in a drawing."""

import xml.etree.ElementTree as ElementTree


def texts(svg):
    """The texts of an SVG, spaces as in a line."""
    elements = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [" ".join("".join(element.itertext()).split()) for element in elements]
