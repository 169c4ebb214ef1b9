"""Labels: where names go beside dots."""

from __future__ import annotations

from queries.drawing.chart_labels import overlap, place


def test_a_name_goes_right_of_its_dot_where_there_is_room() -> None:
    (label,) = place([(50, 50, "name")], width=200, height=100, font_size=10, gap=5)
    assert (label.position, label.text, label.align, label.x, label.y) == (0, "name", "left", 55, 50)


def test_a_name_near_the_edge_stays_inside() -> None:
    (label,) = place([(195, 50, "name")], width=200, height=100, font_size=10, gap=5)
    assert label.align == "right"


def test_what_is_to_be_avoided_is_covered_only_where_there_is_no_other_place() -> None:
    dot = [(50.0, 50.0, "name")]
    (label,) = place(dot, width=200, height=100, font_size=10, gap=5, avoid=[(54, 40, 90, 60)])
    assert label.align == "right"
    (label,) = place(dot, width=200, height=100, font_size=10, gap=5, avoid=[(0, 0, 200, 100)])
    assert label.align == "left"


def test_a_crowded_name_goes_further_off_if_it_may_and_is_left_out_if_not() -> None:
    dots = [(40.0 + 3 * i, 50.0 + 3 * j, "a long name") for i in range(5) for j in range(5)]
    near = list(place(dots, width=300, height=300, font_size=10, gap=4))
    far = list(place(dots, width=300, height=300, font_size=10, gap=4, reach=(1, 3, 6, 10)))
    assert len(near) < len(far) <= len(dots)


def test_boxes_overlap_where_they_share_a_point() -> None:
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3))
    assert not overlap((0, 0, 1, 1), (1, 0, 2, 1))
