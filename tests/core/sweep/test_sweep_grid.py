import dataclasses

import numpy as np
import pytest
import torch
import yaml
from kills import prepare
from PIL import Image

from core import QuantConfig, UniversalSet
from core.images import demo_names
from core.sweep import grid as sweep_grid
from core.sweep.grid import Choice, Networks, expand
from core.sweep.grid_file import load_grid, named_images
from core.sweep.run import prepared


def test_a_grid_is_a_product():
    found = expand({"network": ["edsr"], "scale": [2, 4], "bits": [2, 8], "method": ["minmax"]}, Networks())
    assert list(found) == [
        Choice("edsr", scale, (), "minmax", bits, bits) for scale in (2, 4) for bits in (2, 8)
    ]


def test_a_network_takes_every_scale_it_has():
    assert {c.scale for c in expand({"network": ["edsr"]}, Networks())} == {2, 4}


def test_what_does_not_matter_is_not_varied():
    grid = {
        "network": ["edsr"],
        "scale": [2],
        "universal_set": [[4, 4], UniversalSet(3, 4)],
        "selector": ["exact", "kmeans"],
    }
    assert len(expand(grid | {"method": ["dfsq"]}, Networks())) == 4
    assert list(expand(grid | {"method": ["minmax"]}, Networks())) == [Choice("edsr", 2, method="minmax")]
    assert len(expand(grid | {"method": ["minmax"], "weights": ["subset"]}, Networks())) == 2
    odd = {"block": [4, 8], "side_bits": [8, 16], "ranges": ["minmax", "mse"]}
    dfsq = {"network": ["edsr"], "scale": [2], "method": ["dfsq"]}
    assert len(expand(dfsq | odd, Networks())) == 2  # of bits of side information
    assert len(expand(dfsq | odd | {"normalization": ["block"], "levels": ["uniform"]}, Networks())) == 8
    own, said = (expand(dfsq | {"selector": [s]}, Networks()) for s in (None, "kmeans"))
    assert own == said


def test_layers_all_together_each_alone_and_by_name():
    networks = Networks()
    layers = networks.layers("edsr", 2)
    grid = {"network": ["edsr"], "scale": [2], "layers": ["all", "each", layers[:2], layers[0]]}
    assert [c.layers for c in expand(grid, networks)] == [(), *((n,) for n in layers), tuple(layers[:2])]


def test_several_grids_share_what_is_the_same():
    one = {"network": ["edsr"], "scale": [2], "method": ["minmax"], "bits": [4]}
    found = expand([one | {"images": ["a"]}, one | {"images": ["b"]}, one | {"bits": [2]}], Networks())
    assert list(found.values()) == [["a", "b"], None]
    assert list(expand([one | {"images": ["a"]}, one], Networks()).values()) == [None]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"network": ["edsr"], "bit": [4]}, "no field bit in a grid; there are network, scale"),
        ({"method": ["dfsq"]}, "the grid needs network"),
        ({"network": ["nothing"]}, "no bundled network 'nothing'; there are edsr"),
        ({"network": ["edsr"], "scale": [3]}, r"edsr is there at scale \[2, 4\], not at \[3\]"),
        ({"network": ["edsr"], "bits": 4}, "bits must be a list of at least one value, got 4"),
        ({"network": ["edsr"], "bits": []}, "bits must be a list"),
        ({"network": ["edsr"], "bits": [2], "weight_bits": [4]}, "not both"),
        ({"network": ["edsr"], "universal_set": [4]}, r"given as \[words, terms\], got 4"),
        ({"network": ["edsr"], "method": [{"a": 1}]}, "a list of plain values"),
        ({"network": ["edsr"], "method": [["dfsq", ["mse"]]]}, "a list of plain values, or of lists"),
        ({"network": ["edsr"], "bits": {4: 4}}, "at least one value, got dict"),
        (["network"], "must be a mapping"),
        (None, "a grid must be a mapping from fields to lists, got NoneType"),
        ([], "the grid is empty"),
    ],
)
def test_grids_that_cannot_be(grid, message):
    with pytest.raises(ValueError, match=message):
        expand(grid, Networks())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bits: ['4']", "bits must be whole numbers, got '4'$"),
        ("bits: [4.0]", r"bits must be whole numbers, got 4\.0"),
        ("bits: 4", r"bits must be a list of at least one value, got 4; write \[4\]"),
        ("bits: [99999]", "bits must be whole numbers from 0 to 32,767, got 99999"),
        ("scale: ['2']", "scale must be whole numbers, got '2'"),
        ("seed: [1e3]", "seed must be whole numbers, got '1e3'"),
        (
            "seed: [yes]",
            "seed must be whole numbers, got True; YAML reads yes, no, on and off as true and false",
        ),
        ("seed: [1000000000000000000000]", "seed must be whole numbers from 0 to 4,294,967,295"),
        ("block: [8.0]", r"block must be whole numbers or null, got 8\.0"),
        (
            "layers: [no]",
            "layers must be all, each, a layer's name or a list of these, got False; YAML reads",
        ),
        ("layers: [~]", "layers must be all, .* got None"),
        ("layers: [3]", "layers must be all, .* got 3"),
        ("layers: [[head, 3]]", "layers must be all, .* got 3"),
        ("method: [~]", "method must be names, got None"),
        ("method: [2024-05-01]", "method must be a list of plain values"),
        ("selector: [[exact]]", "selector must be a list of plain values"),
        ("universal_set: [[a, b]]", "universal_set must be lists of two whole numbers, got 'a'"),
        ('weights: ["C:\\new"]', r"weights has 'C:\\new', where YAML took a .* write it in single quotes"),
        ("bits: [2]\nbits: [4]", "line 3, column 1: bits is there twice; give one list of all its values"),
        ("bits:\t[2]\n\tscale: [2]", r"in line 2, column 6: found character '\\t' .*; indent with spaces"),
    ],
)
def test_slips_of_yaml(tmp_path, line, message):
    (tmp_path / "g.yaml").write_text(f"network: [edsr]\n{line}\n")
    with pytest.raises(ValueError, match=message) as error:
        expand(load_grid(tmp_path / "g.yaml")[0], Networks())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_name_for_a_list_of_one(tmp_path, encoding):
    text = "network: [edsr]\nscale: [2]\nmethod: [dfsq+]\nrefine: [bias, [bias]]\nlayers: [body.0.body.0]\n"
    (tmp_path / "g.yaml").write_text(text, encoding=encoding)
    (choice,) = expand(load_grid(tmp_path / "g.yaml")[0], Networks())
    assert (choice.refine, choice.layers) == (("bias",), ("body.0.body.0",))


def test_images_of_one_name_from_two_folders(tmp_path):
    for i, name in enumerate(("a/i.png", "b/i.png", "c/i.png", "c/i.bmp")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((24, 24, 3), 50 * i, np.uint8)).save(tmp_path / name)
    parts = "- network: [edsr]\n  images: [{}]\n- network: [edsr]\n  images: [{}]\n"
    (tmp_path / "g.yaml").write_text(parts.format(tmp_path / "a", tmp_path / "a"))
    assert list(load_grid(tmp_path / "g.yaml")[1]) == ["i"]
    (tmp_path / "g.yaml").write_text(parts.format(tmp_path / "a", tmp_path / "b"))
    with pytest.raises(ValueError, match="two images are named i; rename one"):
        load_grid(tmp_path / "g.yaml")
    with pytest.raises(ValueError, match="c holds two images named i; rename one"):
        named_images([str(tmp_path / "c")])


def no_network(*_):
    pytest.fail("something was expanded")


@pytest.mark.parametrize(
    "grid",
    [
        {"network": ["edsr"], "seed": list(range(1_000_000))},
        {"network": ["edsr"], "seed": list(range(1000)), "block": list(range(1000))},
        {"network": ["edsr"], "images": [str(i) for i in range(1_000_000)]},
        [{"network": ["edsr"], "seed": list(range(1000))}] * 1000,
    ],
    ids=["field", "product", "images", "grids"],
)
def test_a_million_runs_are_refused_before_they_are_expanded(grid, monkeypatch):
    monkeypatch.setattr(Networks, "scales", no_network)
    monkeypatch.setattr(sweep_grid, "Choice", no_network)
    with pytest.raises(
        ValueError, match="stands for 1,000,000 runs or more and a sweep has at most 100,000; give fewer"
    ):
        expand(grid, Networks())


def test_runs_that_only_the_network_and_the_images_tell(monkeypatch, tiny):
    monkeypatch.setattr(sweep_grid, "MAX_RUNS", 10)
    with pytest.raises(ValueError, match="stands for 11 runs or more"):
        expand({"network": ["edsr"], "scale": [2], "layers": ["each"]}, Networks())
    grid, images = {"network": [tiny], "bits": [2, 3, 4]}, dict.fromkeys("abcd", torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="stands for 12 runs or more"):
        prepared(grid, images)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 2000, "is not readable as YAML"),
        ("&a [*a]", "must be a mapping from fields to lists, got list"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nnetwork: *c", "no field a, b, c in a grid"),
        ("network: [edsr]\nmethod: !!python/object/apply:os.getcwd []", "is not readable as YAML"),
        ("\x00", "is not readable as YAML"),
        ("3", "must be a mapping from fields to lists, got int"),
        ("network: [edsr]\nbits: &a [*a]", "bits must be a list of plain values"),
    ],
)
def test_hostile_files(tmp_path, text, message):
    (tmp_path / "g.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        expand(load_grid(tmp_path / "g.yaml")[0], Networks())


def test_a_choice_holds_every_field_of_a_configuration():
    fields = {field.name for field in dataclasses.fields(QuantConfig)}
    assert fields | {"network", "scale", "layers", "tune"} == {
        field.name for field in dataclasses.fields(Choice)
    }
    made = Choice(
        "edsr", 2, (), "dfsq", 3, 8, (3, 4), "kmeans", 5, "block", "subset", "mse", "mse", ("bias",), 8, 4
    ).config()
    assert made == QuantConfig(
        "dfsq", 3, 8, UniversalSet(3, 4), "kmeans", 5, "block", "subset", "mse", "mse", ("bias",), 8, 4
    )


def test_images_by_name_and_by_folder(tmp_path):
    prepare(tmp_path)
    found = named_images([demo_names()[0], str(tmp_path / "images")])
    assert list(found) == [demo_names()[0], "0", "1", "2", "3"]
    with pytest.raises(ValueError, match="two images are named"):
        named_images([str(tmp_path / "images")] * 2)
    with pytest.raises(ValueError, match="neither a folder nor one of the photographs astronaut"):
        named_images(["nobody"])


def test_the_packaged_photographs_are_the_default(tmp_path, tiny):
    (tmp_path / "g.yaml").write_text(yaml.safe_dump({"network": [tiny]}))
    grid, images = load_grid(tmp_path / "g.yaml")
    assert list(images) == grid[0]["images"] == demo_names()
    with pytest.raises(ValueError, match="no image nobody; there are astronaut"):
        prepared({"network": [tiny], "images": ["nobody"]}, images)
    with pytest.raises(ValueError, match="at least one image"):
        prepared({"network": [tiny]}, {})


def test_bits_by_layer_in_a_grid(tiny):
    mixed = {"body.0.body.0": [8, 4], "body.1.body.0": [4, 4]}
    grid = {"network": [tiny], "method": ["mse"], "layer_bits": [{}, mixed]}
    uniform, one = expand(grid, Networks())
    assert uniform.layer_bits == ()
    assert one.layer_bits == (("body.0.body.0", 8, 4),)  # the other has the configuration's own
    assert one.config().for_layer("body.0.body.0").weight_bits == 8
    with pytest.raises(ValueError, match=r"layer_bits must be mappings from layers to \[weight bits, activ"):
        expand(grid | {"layer_bits": [{"body.0.body.0": 8}]}, Networks())
