"""What the keyboard needs besides: Bokeh's tabs take the focus but answer to clicks alone.

Their names also stand behind all that they show, so that the Tab key reached them last. And a list of
choices, being scrolled, takes the focus from its own field, closes for that, and the focus is lost: the Tab
key never got past it.
"""

SCRIPT = """
const tabs = Bokeh.documents[0].roots().find((root) => root.type.endsWith('Tabs'));
const { shadow_el, header_el } = Bokeh.index.find_one(tabs);
shadow_el.prepend(header_el);
shadow_el.addEventListener('keydown', (event) => {
  if (event.target.matches('.bk-tab') && (event.key === 'Enter' || event.key === ' ')) {
    event.preventDefault();
    event.target.click();
  }
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Tab') return;
  const field = event.composedPath()[0].closest('.choices');
  field?.querySelectorAll('.choices__list').forEach((list) => { list.tabIndex = -1; });
}, true);
"""
