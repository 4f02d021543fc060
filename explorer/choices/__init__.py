"""What a person can choose and has chosen: state, links, bundled and uploaded files."""
