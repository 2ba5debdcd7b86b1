"""One file a page, top to bottom as on the screen."""
