"""Elements of the files for a phone: the ends of their graphs."""

from drawn_elements import columns, figure

from explorer.elements.deployment import RUNS, graph_ends


def test_the_ends_of_files_are_rows_of_boxes_from_the_convolution_on():
    drawn = figure(
        graph_ends(
            {
                "float": [("Conv", "float"), ("Clip", "float")],
                "INT8": [("CONV_2D", "INT8"), ("DEQUANTIZE", "conversion"), ("TANH", "float")],
            }
        )
    )
    found = columns(drawn)
    assert list(found["word"][0]) == ["convolution", "to float", "tanh", "convolution", "clip"], (
        "the last below"
    )
    assert list(found["color"][0]) == [RUNS[r] for r in ("INT8", "conversion", "float", "float", "float")]
    assert drawn.name == "graph ends"
    assert drawn.yaxis[0].major_label_overrides == {0: "INT8", 1: "float"}
