"""How the products of a convolution network are rounded, by the widths of a row."""

from measure import quantize


def widths(row):
    """Bits of weights and activations of a row such as W4A8."""
    w, a = row[1:].split("A")
    return {"w": int(w), "a": int(a)}


def ends(row, **more):
    """Rounding of a network, whose first and last product have 8 bits where the others have less."""
    body = widths(row)
    if body["w"] < 8:
        body["group"] = 32
    if body == {"w": 8, "a": 8}:
        return quantize(**body, **more)
    more_at_ends = {name: value for name, value in more.items() if name != "a_search"} | {"calib": False}
    return quantize(**body, skip_ends=True, **more) + "," + quantize(w=8, a=8, **more_at_ends)
