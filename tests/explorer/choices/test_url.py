"""Links that strangers write."""

import json
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core import QuantConfig
from explorer.choices.catalog import NETWORKS
from explorer.choices.state import BITS, EVERY_METHOD, FIELDS, ExplorerState
from explorer.choices.url import follow, restore
from explorer.export import script
from explorer.pipeline.deployment import Plan
from explorer.pipeline.method_comparison import Inspection
from explorer.pipeline.protocol import protocol
from explorer.server.address import Address


def link(**values):
    return "?" + urlencode({k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()})


def opened(search):
    """As the page does it; what the address is then."""
    address, state = Address(search=search), ExplorerState()
    restore(state, search)
    follow(address, state)
    return state, address


def query(address):
    return dict(parse_qsl(address.search.removeprefix("?"), keep_blank_values=True))


def test_what_a_link_cannot_have_is_named():
    state = ExplorerState()
    search = link(activation_bits=9, method="foo", channel=3, float_layers=["foo"], theme="dark")
    assert sorted(restore(state, search)) == ["activation_bits", "float_layers", "method"]
    assert (state.activation_bits, state.channel, state.float_layers) == (4, 3, [])


def test_every_choice_comes_back_by_its_link():
    chosen = dict(
        network="edsr_x4",
        image=list(ExplorerState.param.image.objects)[2],
        region="whole",
        activation_bits=5,
        weight_bits=32,
        method="dfsq+",
        words=5,
        terms=3,
        selector="greedy",
        layer="body.1.body.2",
        channel=3,
        float_layers=["body.0.body.0"],
        compared_bits=[3, 5],
        references=["hr", "float"],
        below="float",
        details=["set", "mismatch"],
        lesson=3,
        large="mse",
        beside="difference",
        hand=[-7, 0, 12],
        hand_layer=True,
        snap="grid",
        left="4",
        right="hand",
        tab="methods",
        methods=["mse", "dfsq"],
        box=[3, 4, 50, 60],
        spot=[5, 6],
        direction="column",
        strategy="random",
        representatives=10,
        engines=["litert"],
        file_size="64x64",
        run="own",
        moment=40,
        train_version="v1",
        train_bits=4,
        train_regularizer="naive",
        train_correction=False,
        train_offsets=True,
        train_steps=100,
        sweep="2026",
        budget=80,
        budget_unit="bytes",
        layer_bits="f" * 32 + "-" + "2345" * 8,
    )
    assert set(chosen) == {*FIELDS} - {"calibration"}  # whose images are on one page alone
    chosen["calibration"] = []
    state, address = opened("")
    for name in FIELDS:
        setattr(state, name, chosen[name])
    state, address = opened(address.search)  # what the page wrote itself
    assert {name: getattr(state, name) for name in FIELDS} == chosen
    state.moment = 41
    state, _ = opened(address.search)  # what it wrote when something else changed
    assert {name: getattr(state, name) for name in FIELDS} == chosen | {"moment": 41}
    state, _ = opened("?tab=methods&methods=['mse', 'dfsq']")  # as pages wrote it before
    assert state.methods == ["mse", "dfsq"]


def test_what_is_for_others_stays():
    state, address = opened("?theme=dark&words=3&from=%C2%B2")
    state.terms = 3
    assert query(address) == {"theme": "dark", "words": "3", "from": "²", "terms": "3"}


def test_an_address_that_comes_later_is_taken():
    state, address = opened("?words=3&activation_bits=2")
    first = address.search
    state.activation_bits = 5
    second = address.search
    address.search = first  # as a browser says it
    assert (state.words, state.activation_bits) == (3, 2)
    address.search = second
    assert (state.words, state.activation_bits) == (3, 5)
    address.search = "?words=<script>&activation_bits=6&layer=²"
    assert (state.words, state.activation_bits) == (3, 6)


def test_a_choice_that_moves_others_is_not_taken_back():
    state, address = opened("?network=edsr_x2&layer=body.4.body.2&channel=9&hand=[-512,0,512]&method=dfsq")
    state.method = "dfsq+"  # points by hand go with it
    assert (state.method, state.hand) == ("dfsq+", [])
    state.network = "xlsr_x3"
    assert (state.network, state.layer) == ("xlsr_x3", state.param.layer.objects[0])
    found, _ = opened(address.search)
    assert {name: getattr(found, name) for name in FIELDS} == {name: getattr(state, name) for name in FIELDS}


@pytest.mark.parametrize("text", ["²", "1" * 9000, "true", "4.0", "NaN", "-0", "1e1", "٤", "", "[4]"])
def test_what_only_looks_like_a_number(text):
    state, _ = opened(link(words=text, weight_bits=text, channel=text, compared_bits=f"[{text}]"))
    assert (state.words, state.weight_bits, state.channel) == (4, 0, 0)
    assert state.compared_bits in ([2, 3, 4, 8], [])


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (dict(methods=["dfsq"] * 500), dict(methods=["dfsq"])),
        (dict(methods=[["dfsq"]]), dict(methods=["dfsq-exact", "dfsq+", "minmax", "percentile"])),
        (dict(methods=[{}, None]), dict(methods=["dfsq-exact", "dfsq+", "minmax", "percentile"])),
        (dict(compared_bits=[2.0, True]), dict(compared_bits=[2, 3, 4, 8])),
        (dict(box=[1, 2, 3]), dict(box=[])),
        (dict(box=[1, 2, 3, 10**7]), dict(box=[])),
        (dict(spot=[1] * 9), dict(spot=[])),
        (dict(hand=[0] * 100_000), dict(hand=[])),
        (dict(hand=[True, 1.5]), dict(hand=[])),
        (dict(hand="[" * 100_000), dict(hand=[])),
        (dict(sweep="<script>alert(1)</script>"), dict(sweep="bundled")),
        (dict(sweep="../../etc"), dict(sweep="bundled")),
        (dict(sweep="a\n"), dict(sweep="bundled")),
        (dict(network="xlsr_x3", layer="body.0.body.0"), dict(network="xlsr_x3", layer="conv0_0.conv")),
        (dict(tab='"><script>'), dict(tab="explore")),
    ],
)
def test_what_is_not_valid_leaves_the_default(given, taken):
    state, _ = opened(link(**given))
    assert {name: getattr(state, name) for name in taken} == taken


ODD = [
    "NaN",
    "²",
    "1" * 5000,
    "true",
    "[]",
    "{}",
    "[" * 3000,
    "[[]]",
    '["dfsq","dfsq"]',
    "<script>",
    "\x00",
    "%",
]
NUMBERS = st.one_of(st.integers(-9, 40), st.integers(), st.floats(), st.booleans(), st.none())
jsons = st.recursive(NUMBERS | st.text(max_size=9), lambda inner: st.lists(inner, max_size=5), max_leaves=9)


def own(name):
    """A text for the choice of that name: often what it can be."""
    parameter = ExplorerState.param[name]
    objects = list(getattr(parameter, "objects", None) or [getattr(ExplorerState(), name)])
    objects += [list(NETWORKS), BITS, list(objects), [-8, 0, 8]]
    fits = st.sampled_from(objects).map(lambda thing: thing if isinstance(thing, str) else json.dumps(thing))
    return fits | st.sampled_from(ODD) | jsons.map(json.dumps) | st.text(max_size=20)


choices = st.sampled_from(FIELDS).flatmap(lambda name: st.tuples(st.just(name), own(name)))
texts = st.lists(choices, max_size=20).map(dict)


@given(texts, st.integers(1, 900))
@example({"tab": "layers", "words": "1", "terms": "2"}, 30)
def test_whatever_comes_the_state_is_valid(values, size):
    state, address = opened("?" + urlencode(values, quote_via=quote, errors="replace"))
    for name in FIELDS:
        setattr(state, name, getattr(state, name))  # ValueError for what cannot be
    assert "<script>" not in address.search
    assert state.layer in state.param.layer.objects
    assert state.channel <= state.param.channel.bounds[1]
    points = state.by_hand()
    assert all(abs(point * state.universal_set().step) <= 1 for point in points)
    assert list(points) == sorted(set(points))
    assert {state.picture_key(side) for side in ("left", "right")} <= {
        "hr",
        "bicubic",
        "float",
        "hand",
        *BITS,
    }
    assert set(state.shown_bits()) <= set(BITS)
    assert isinstance(hash(Plan.of(state)), int)
    assert protocol(state)
    assert EVERY_METHOD[state.method]
    sentences = []
    for make in (
        lambda: state.configs()(state.activation_bits),
        state.training,
        lambda: script.code(state),
    ):
        try:
            made = make()
        except ValueError as error:
            sentences.append(str(error))
        else:
            assert not isinstance(made, QuantConfig) or made.activation_bits == state.activation_bits
    assert all(sentence and "\n" not in sentence for sentence in sentences)
    inspection = Inspection(tuple(state.box), tuple(state.spot), state.direction)
    line, start, end = inspection.line(size, 2 * size)
    assert 0 <= start < end <= 2 * size
    assert 0 <= line < 2 * size
    if region := inspection.region(size, 2 * size):
        assert 0 <= region[0] < region[2] <= 2 * size
        assert 0 <= region[1] < region[3] <= size
