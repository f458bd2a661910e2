"""The number of an outcome in the address of a page."""

from __future__ import annotations

from starlette.convertors import Convertor, IntegerConvertor, register_url_convertor

NUMBER = "{number:outcome}"  # in the path of a route


def _convertor() -> Convertor[int]:
    """Starlette's takes any number of digits, and Python refuses to read more than some thousands."""
    convertor = IntegerConvertor()
    convertor.regex = "[0-9]{1,18}"  # SQLite has 63 bits
    return convertor


register_url_convertor("outcome", _convertor())
