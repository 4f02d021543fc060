"""Every use of internals of Bokeh 3.9, Panel 1.9 and Tornado 6; because of them, panel==1.9.*.

What is used, why, and the test of tests/explorer/server/test_hooks.py that fails when it is no longer
needed:

- websocket: `WSHandler.open` of Bokeh, for Tornado's `set_nodelay`: test_bokeh_does_not_send_at_once
- websocket: `ServerConnection.send_patch_document` of Bokeh, `write_events` and `schedule_write_events` of
  Panel, for one order of all changes: test_panel_writes_later_where_the_socket_is_busy
- bokeh_defaults: `PropertyDescriptor` of Bokeh, for the CPU of a page: test_bokeh_does_not_keep_defaults
- debounce: `Syncable._debounce` of Panel, 5 ms instead of 50: test_panel_still_waits_by_this_name
- offline: `Fast._resources`, `reactive.CDN_DIST` and `dist_url` of Panel: test_panel_asks_other_hosts
- notebook: `Viewable._on_msg`, `_cleanup`, `Design._apply_hooks`, `state._stylesheets` of Panel, for one
  order of a cell's changes, its end, and styles without the net: test_panel_gives_each_component_its_styles
- notebook: `CommManager._document_changed` of Panel's script: test_panel_sends_back_what_came_from_python
- address: `Location.query_params` of Panel: test_panel_fails_at_strange_links

`document_queue` and `connection_lost` use what is public: they are here because all changes of a page go
through the one, and the other is about the connection.
"""
