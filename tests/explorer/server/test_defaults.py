import bokeh.plotting
import pytest
from bokeh.core.properties import Override
from bokeh.core.property.descriptors import PropertyDescriptor
from bokeh.model import Model
from bokeh.models import Button, ColumnDataSource

from explorer.server.bokeh_defaults import PLAIN, remember_defaults


@pytest.fixture
def remembered(monkeypatch):
    for name in ("has_unstable_default", "_get_default"):  # as they were, when the test is over
        monkeypatch.setattr(PropertyDescriptor, name, getattr(PropertyDescriptor, name))
    remember_defaults.__wrapped__()


def plain_values():
    """Of every kind of model that can be made out of nothing: its class and its plain default values."""
    for kind in sorted(Model.model_class_reverse_map.values(), key=str):
        try:
            values = kind().properties_with_values()
        except Exception:
            continue  # abstract, or needs arguments
        yield kind, {name: value for name, value in values.items() if isinstance(value, PLAIN)}


def test_the_defaults_are_the_same_at_every_time(request):
    assert bokeh.plotting  # its models count
    expected = dict(plain_values())
    assert len(expected) > 300
    request.getfixturevalue("remembered")
    for _ in range(2):
        assert dict(plain_values()) == expected


def test_what_can_be_changed_in_place_is_not_shared(remembered):
    first, second = ColumnDataSource(), ColumnDataSource()
    first.data["x"] = [1]
    first.selected.indices.append(3)
    assert second.data == {}
    assert second.selected.indices == []


def test_a_theme_and_a_value_come_before_the_default(remembered):
    button, other = Button(), Button()
    assert button.label == "Button"
    button.apply_theme({"label": "themed"})
    assert (button.label, other.label) == ("themed", "Button")
    button.unapply_theme()
    assert button.label == "Button"
    button.label = "own"
    assert (button.label, other.label) == ("own", "Button")


def test_a_default_of_a_subclass_is_its_own(remembered):
    class Large(Button):
        label = Override(default="Large")

    assert [kind().label for kind in (Button, Large, Button, Large)] == ["Button", "Large"] * 2
