"""CSV files: what is read, and what is said of a file that cannot be."""

from functools import partial
from typing import Annotated

import pytest
from pydantic import AfterValidator, ConfigDict, TypeAdapter

from featurestore.errors import ConfigurationError
from probes.imports.csv_rows import (
    Columns,
    Count,
    Fraction,
    Name,
    Number,
    Truth,
    one_of,
    read_rows,
    refuse_repeated,
)


class People(Columns):
    SAME = (("n_thousands", "n"),)
    NOT_READ = ("note",)

    kind: Annotated[str, AfterValidator(partial(one_of, choices=("fixed", "finetuned")))]
    who: Name
    share: Fraction | None = None
    n: Count = 7
    n_thousands: Annotated[Count, AfterValidator(lambda thousands: thousands * 1000)] | None = None
    yes: Truth | None = None


class Scored(People):
    """People, with other columns, of numbers."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number]


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "given.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_values_are_read_stripped_and_empty_ones_have_their_defaults(written):
    path = written('\ufeffwho,kind,n,yes\n\n Inception v4 ,fixed, 3,No\n,,,\n"a,b",finetuned,,\n')
    rows = read_rows(path, People)
    assert [row.line for row in rows] == [3, 5]
    assert rows[0].values == {"who": "Inception v4", "kind": "fixed", "n": 3, "yes": False, "share": None}
    assert rows[1].values == {"who": "a,b", "kind": "finetuned", "n": 7, "yes": None, "share": None}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("comma", ["", ",", ",,"])
def test_any_ends_of_lines_are_read_a_byte_order_mark_and_commas_at_the_ends_too(written, end, mark, comma):
    lines = [f"who,kind,share{comma}", f"a,fixed,0.5{comma}", "", f"b,fixed,{comma}"]
    rows = read_rows(written(mark + end.join([*lines, ""])), People)
    assert [(row.line, row.values["who"], row.values["share"]) for row in rows] == [(2, "a", 0.5), (4, "b", None)]


def test_a_row_says_which_values_its_line_gives(written):
    (row,) = read_rows(written("who,kind,n,share\na,fixed,,0.5\n"), People)
    assert row.given == {"who", "kind", "share"}


def test_a_column_may_go_by_another_name_in_another_unit(written):
    assert read_rows(written("who,kind,n_thousands\na,fixed,2\n"), People)[0].values["n"] == 2000


def test_a_value_over_several_lines_does_not_move_the_numbers_of_lines(written):
    with pytest.raises(ConfigurationError, match=r"line 4, column share: .*Got '2'"):
        read_rows(written('who,kind,yes,share\na,fixed,"1\n",0.1\nb,fixed,1,2\n'), People)


def test_other_columns_are_numbers_where_they_may_be_there(written):
    path = written("who,kind,food,cars\na,fixed,0.5,\nb,fixed,1e2,3\n")
    assert [row.others for row in read_rows(path, Scored)] == [{"food": 0.5}, {"food": 100, "cars": 3}]


def test_columns_that_are_known_to_be_of_no_use_are_not_read(written):
    (row,) = read_rows(written("who,kind,note\na,fixed,x\n"), Scored)
    assert "note" not in row.values
    assert row.others == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: must have the columns kind, who. Got an empty file"),
        ("who,kind\n", "must have a line below its header. Got the header alone"),
        (
            "who,kin\na,b\n",
            r"line 1: unknown column 'kin'. Did you mean 'kind'\? The file may have the columns kind, who, share",
        ),
        ("who,kind,\na,fixed,1\n", r"line 2: .*column 3 has none. Got '1'. .*index=False"),
        (",who,kind\n0,a,fixed\n", r"line 2: .*column 1 has none. Got '0'"),
        ("who;kind\na;fixed\n", "line 1: values must be separated by commas.* Got semicolons"),
        ("who;kind;share\na;fixed;0,5\n", "line 1: values must be separated by commas.* Got semicolons"),
        ("who\tkind\na\tfixed\n", "line 1: .*Got tabs"),
        ("who|kind\na|fixed\n", "line 1: .*Got vertical bars"),
        ("sep=;\nwho;kind\na;fixed\n", "line 1: .*Got semicolons"),
        ("sep=,\nwho,kind\na,fixed\n", "line 1: .*Got a line that names another separator"),
        ("who,kind,share\na,fixed,0,5\n", "line 2: .*Got 4. .*numbers have a point, not a comma"),
        ("who,kind\na,fixed,\n", "line 2: .*Got 3. The line ends with a comma, and the header does not"),
        ("who,kind\na,fixed\n".encode("utf-16"), "must be text in UTF-8, but is in UTF-16"),
        ("who,kind\na,fixed\n".encode("utf-16-be"), "must be text in UTF-8, but has bytes of zero"),
        (b"PK\x03\x04who,kind", "is a ZIP archive, as workbooks are. Save it as CSV"),
        (b"\x1f\x8b\x08", "is compressed with gzip"),
        ("who,kind,who\na,fixed,b\n", "line 1: two columns are called 'who'"),
        ("who,kind,n,n_thousands\na,fixed,1,1\n", "line 1: n and n_thousands say the same"),
        ("who\na\n", "line 1: must have the column kind. Got 'who'"),
        ("who,kind\na\n", "line 2: must have 2 values, as many as the header has columns. Got 1"),
        ("who,kind\na,fixed,b\n", "line 2: .*Got 3.*double quotes"),
        ("who,kind\n,fixed\n", "line 2, column who: must have a value. Got nothing"),
        (
            "who,kind\na,finetune\n",
            r"column kind: must be one of fixed, finetuned. Did you mean 'finetuned'\? Got 'fine",
        ),
        ("who,kind\na,zzz\n", r"column kind: must be one of fixed, finetuned. Got 'zzz'"),
        ("who,kind,share\na,fixed,75.1\n", r"column share: must be a fraction between 0 and 1 \(0.751, not 75.1\)"),
        ("who,kind,share\na,fixed,nan\n", "column share: must be a fraction between 0 and 1"),
        ("who,kind,share\na,fixed,0_1\n", "column share: must be a fraction between 0 and 1"),
        ("who,kind,n\na,fixed,0\n", "column n: must be a whole number, at least 1"),
        ("who,kind,n\na,fixed,2.0\n", "column n: must be a whole number"),
        ("who,kind,n\na,fixed,²\n", "column n: must be a whole number"),
        (f"who,kind,n\na,fixed,{10**16}\n", "column n: must be a whole number"),
        (f"who,kind,n\na,fixed,{'9' * 5000}\n", rf"must be a whole number, at least 1, .* Got '{'9' * 60}\.\.\.'"),
        ("who,kind,yes\na,fixed,maybe\n", "column yes: must be one of true, yes, 1, false, no, 0"),
        (f"who,kind\n{'a' * 201},fixed\n", "column who: must be a name of at most 200 characters"),
        ('who,kind\n"a\nb",fixed\n', "line 2, column who: must be a name"),
        (b"who,kind\n\xff,fixed\n", "must be text in UTF-8, but the byte 0xff in line 2"),
        ('who,kind\n"a"b,fixed\n', "line 2, cannot be read as CSV"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(written, text, message):
    with pytest.raises(ConfigurationError, match=message):
        read_rows(written(text), People)


@pytest.mark.parametrize("text", ["nan", "0_1", "0,1", "inf", "x"])
def test_what_is_no_number_is_refused(written, text):
    with pytest.raises(ConfigurationError, match="line 2, column food: must be a number, with a point"):
        read_rows(written(f'who,kind,food\na,fixed,"{text}"\n'), Scored)


def test_a_text_in_a_column_of_its_own_is_taken_for_a_misspelt_column(written):
    with pytest.raises(
        ConfigurationError, match=r"line 2, column whoo: must be a number.* Did you mean 'who'\? Got 'x'"
    ):
        read_rows(written("who,kind,whoo\na,fixed,x\n"), Scored)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"There is no file .*nothing\.csv"):
        read_rows(tmp_path / "nothing.csv", People)


def test_two_lines_that_say_the_same_are_both_named(written):
    rows = read_rows(written("who,kind,share\na,fixed,0.1\nb,fixed,0.1\na,finetuned,0.2\n"), People)
    refuse_repeated(rows, ("who", "kind"), "the same")
    with pytest.raises(ConfigurationError, match=r"given\.csv: lines 2 and 4 are the same person, twice"):
        refuse_repeated(rows, ("who",), "the same person,")


def test_a_number_has_a_point_before_its_decimals():
    assert TypeAdapter(Number).validate_python("-1.5e-3") == -0.0015
