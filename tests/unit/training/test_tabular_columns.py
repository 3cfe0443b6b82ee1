"""The columns of a table: what they are, what stands for an empty cell, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind
from penstock_training.table_file import parse_table
from penstock_training.tabular_columns import Column, read_columns


def columns(csv: str) -> list[Column]:
    table = parse_table(csv.encode(), "cars.csv")
    return read_columns(table, range(len(table.header)), range(len(table.rows)))


def test_a_column_is_of_the_kind_of_its_cells() -> None:
    """Numbers, booleans in any case, and categories, which are in the order of the alphabet."""
    size, new, colour = columns("size,new,colour\n10,true,red\n 4.5,False,blue\n5,TRUE,red\n")
    assert (size.field.kind, new.field.kind, colour.field.kind) == (
        FieldKind.NUMBER,
        FieldKind.BOOLEAN,
        FieldKind.CATEGORY,
    )
    assert size.values.tolist() == [10.0, 4.5, 5.0] and size.values.dtype == np.float32
    assert new.values.tolist() == [1.0, 0.0, 1.0]
    assert (colour.values.tolist(), colour.field.categories) == ([1, 0, 1], ["blue", "red"])
    assert all(column.field.required for column in (size, new, colour))
    assert (size.typical, new.typical, colour.typical) == (5.0, True, "red")


def test_a_number_has_bounds_around_what_was_seen() -> None:
    """A range's width on both sides, but no value below 0 if there was none."""
    near, far = (column.field for column in columns("near,far\n10,-10\n12,10\n"))
    assert (near.minimum, near.maximum) == (8.0, 14.0)
    assert (far.minimum, far.maximum) == (-30.0, 30.0)
    [zero] = columns("zero\n1\n9\n")
    assert (zero.field.minimum, zero.field.maximum) == (0.0, 17.0)


def test_an_empty_cell_is_the_default_of_its_field() -> None:
    """The median, the more frequent boolean, or a category of its own; clients may leave the field out."""
    size, new, colour = columns("size,new,colour\n1,true,red\n3,true,\n,false,blue\n5, ,red\n")
    assert (size.field.default, size.values.tolist()) == (3.0, [1.0, 3.0, 3.0, 5.0])
    assert (new.field.default, new.values.tolist()) == (True, [1.0, 1.0, 0.0, 1.0])
    assert (colour.field.default, colour.field.categories) == ("", ["", "blue", "red"])
    assert not any(column.field.required for column in (size, new, colour))


@pytest.mark.parametrize(
    ("header", "name", "description"),
    [
        ("age_years", "age_years", ""),
        ("Price (EUR)", "Price__EUR_", "Price (EUR)"),
        ("größe", "gr__e", "größe"),
        ("-", "column_1", "-"),
    ],
)
def test_a_header_becomes_a_name_that_fields_can_have(header: str, name: str, description: str) -> None:
    """What a name cannot have is replaced, and the description has the header."""
    [column] = columns(f"{header}\n1\n")
    assert (column.field.name, column.field.description) == (name, description)


@pytest.mark.parametrize(
    ("csv", "named"),
    [
        (
            "id\n" + "".join(f"id{n}\n" for n in range(201)),
            "column 'id' has more than 200 different texts; leave it out with --ignore 'id'",
        ),
        (
            "id\n" + "".join(f"{n}\n" for n in range(201)) + "n/a\n",
            r"different texts \('n/a' in line 203 is not a number\)",
        ),
        ("a,b\n1,\n2,\n", "column 'b' is empty; leave it out with --ignore 'b'"),
        ("a\n1\nnan\n", "line 3: column 'a' has 'nan', a number that is not finite; leave the cell empty"),
        ("a\n1\n1e60\n", "line 3: column 'a' has '1e60'"),
        ("a b,a_b\n1,2\n", "column 'a b' has the field name 'a_b', as another one has; rename one"),
    ],
)
def test_a_column_that_cannot_be_used_is_refused(csv: str, named: str) -> None:
    """The 422 names the file, the column, the line and the remedy."""
    with pytest.raises(PenstockError, match=named) as refused:
        columns(csv)
    assert (refused.value.status, refused.value.code) == (422, "bad-data")
