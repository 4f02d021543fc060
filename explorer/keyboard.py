"""What the keyboard needs besides: Bokeh's tabs take the focus but answer to clicks alone."""

SCRIPT = """
const tabs = Bokeh.documents[0].roots().find((root) => root.type.endsWith('Tabs'));
Bokeh.index.find_one(tabs).shadow_el.addEventListener('keydown', (event) => {
  if (event.target.matches('.bk-tab') && (event.key === 'Enter' || event.key === ' ')) {
    event.preventDefault();
    event.target.click();
  }
});
"""
# Of tabs, and of buttons, whose own outline the theme takes away.
FOCUS = ".bk-tab:focus-visible, .bk-btn:focus-visible { outline: 2px solid #e69f00; outline-offset: -3px; }"
