"""The arithmetic that a derived number is stated with.

A formula is numbers, names, ``+ - * /``, a sign and parentheses: ``1e3 / gsops_per_w``, ``(p2 - p1) / (f2 - f1)``.
Names are looked up in the numbers that stand beside it. Nothing else is read: no power, no call, no comparison, no
attribute, so a profile of somebody else can be opened without running what it says.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping

#: Longest formula in characters; the parser recurses into what it reads.
MAX_LENGTH = 200


def evaluate(formula: str, given: Mapping[str, float]) -> float:
    """The value of a formula, a finite number.

    Raises:
        ValueError: not a formula, a name without a number, a division by zero, a result that is not finite.
    """
    result = _value(_tree(formula), formula, given)
    if not math.isfinite(result):
        raise ValueError(f"formula {formula!r} has no finite value")
    return result


def names(formula: str) -> set[str]:
    """The names that a formula uses. Raises ValueError where it is not one."""
    return {node.id for node in ast.walk(_tree(formula)) if isinstance(node, ast.Name)}


def _tree(formula: str) -> ast.expr:
    if len(formula) > MAX_LENGTH:
        raise ValueError(f"formula of {len(formula)} characters; at most {MAX_LENGTH}")
    try:
        return ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"formula {formula!r} cannot be read") from None


def _value(node: ast.expr, formula: str, given: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id=name):
            if name not in given:
                raise ValueError(f"formula {formula!r} uses {name}, which is not given")
            return float(given[name])
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, formula, given)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _value(left, formula, given), _value(right, formula, given)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div() if b != 0:
                    return a / b
                case ast.Div():
                    raise ValueError(f"formula {formula!r} divides by zero")
    raise ValueError(f"formula {formula!r} may use numbers, names, + - * / and parentheses only")
